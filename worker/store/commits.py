"""The format of commits: one readable JSON object each."""

import secrets
from typing import Any

import attrs
import msgspec

from worker.model import Commit, CommitName, InputRecord, InvalidName, Repo
from worker.store.backends.base import Damaged
from worker.store.segments import UnknownFormat

FORMAT = 1


@attrs.frozen
class _Format:
    format: int


@attrs.frozen
class _Tree:
    root: str
    digest: str
    files: int
    size: int


@attrs.frozen
class _Input:
    name: str
    project: str
    repo: str
    branch: str
    commit: str
    s3: bool
    glob: str = "/"


# Unknown fields are ignored, so that a newer worker can add fields without another format.
@attrs.frozen
class _Document:
    format: int
    project: str
    repo: str
    id: str
    branch: str
    parent: str | None
    started: float
    finished: float
    tree: _Tree
    message: str = ""
    inputs: tuple[_Input, ...] = ()
    job: dict[str, Any] = attrs.field(factory=dict)
    token: str = ""


def encode(commit: Commit) -> bytes:
    """Return *commit* as indented JSON, with a random token that is unique to this writer."""
    document = _Document(
        format=FORMAT,
        project=commit.name.repo.project,
        repo=commit.name.repo.name,
        id=commit.name.id,
        branch=commit.branch,
        parent=commit.parent,
        started=commit.started,
        finished=commit.finished,
        tree=_Tree(commit.root, commit.digest, commit.files, commit.size),
        message=commit.message,
        inputs=tuple(
            _Input(
                name=record.name,
                project=record.commit.repo.project,
                repo=record.commit.repo.name,
                branch=record.branch,
                commit=record.commit.id,
                s3=record.s3,
                glob=record.glob,
            )
            for record in commit.inputs
        ),
        job=dict(commit.job),
        token=secrets.token_hex(8),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, name: CommitName) -> Commit:
    """Return the commit *name* from *data*; raise Damaged and UnknownFormat."""
    try:
        fields = msgspec.json.decode(data)
        if (found := msgspec.convert(fields, _Format).format) > FORMAT:
            raise UnknownFormat(str(name), found, FORMAT)
        document = msgspec.convert(fields, _Document)
        found_name = CommitName(Repo(document.project, document.repo), document.id)
        inputs = tuple(
            InputRecord(
                name=each.name,
                commit=CommitName(Repo(each.project, each.repo), each.commit),
                branch=each.branch,
                s3=each.s3,
                glob=each.glob,
            )
            for each in document.inputs
        )
    except (msgspec.DecodeError, InvalidName) as error:
        raise Damaged(str(name), f"this is not a commit ({error})") from error
    if found_name != name:
        raise Damaged(str(name), f"found the commit {found_name}")
    return Commit(
        name=name,
        branch=document.branch,
        parent=document.parent,
        started=document.started,
        finished=document.finished,
        root=document.tree.root,
        digest=document.tree.digest,
        files=document.tree.files,
        size=document.tree.size,
        message=document.message,
        inputs=inputs,
        job=document.job,
    )
