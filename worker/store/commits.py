"""The format of commits: one readable JSON object each."""

import secrets
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta

from worker.model import COMMIT_ID, NAME, Commit, CommitName, InputRecord, InvalidName, Repo
from worker.store.backends.base import Damaged
from worker.store.entry_rules import MAX_SECONDS, MAX_TOTAL, UNDECODABLE, Inconsistent
from worker.store.segments import UnknownFormat

FORMAT = 1
MAX_STORED = 64 << 20
"""The most bytes of a commit. It records some 200 bytes of each datum of its job."""

MAX_VALUES = 5_000_000
"""The most values of a commit, estimated by the delimiters in it: those of a datum are ten."""

MAX_DEPTH = 100
"""Levels of the record of a job. Python encodes less than a thousand, and copies fewer."""

# A pattern is searched for, and $ would match before a line feed.
_Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Id = Annotated[str, Meta(pattern=rf"\A{COMMIT_ID.pattern}\Z")]
_Name = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z")]
_Count = Annotated[int, Meta(ge=0, le=MAX_TOTAL)]
_Time = Annotated[float, Meta(ge=0, lt=MAX_SECONDS)]


@attrs.frozen
class _Format:
    format: int


@attrs.frozen
class _Tree:
    root: _Digest
    digest: _Digest
    files: _Count
    size: _Count


@attrs.frozen
class _Input:
    name: str
    project: _Name
    repo: _Name
    branch: str
    commit: _Id
    s3: bool
    glob: str = "/"


# Unknown fields are ignored, so that a newer worker can add fields without another format.
@attrs.frozen
class _Document:
    format: int
    project: _Name
    repo: _Name
    id: _Id
    branch: _Name
    parent: _Id | None
    started: _Time
    finished: _Time
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


def decode(data: bytes, name: CommitName, stored: str) -> Commit:
    """Return the commit *name* from *data* of the object *stored*; raise Damaged, UnknownFormat."""
    try:
        # A value has at least some 60 bytes of memory, and two of the document.
        if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise Inconsistent(f"it has more than {MAX_VALUES:,} values")
        fields = msgspec.json.decode(data)
        if (found := msgspec.convert(fields, _Format).format) > FORMAT:
            raise UnknownFormat(stored, found, FORMAT)
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
        _check_depth(document.job)
    except (*UNDECODABLE, InvalidName) as error:
        raise Damaged(stored, f"this is not a commit ({error})") from error
    if found_name != name:
        raise Damaged(stored, f"found the commit {found_name}")
    if document.parent == name.id:
        raise Damaged(stored, "it is its own parent")
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


def _check_depth(job: dict[str, Any]) -> None:
    level: list[Any] = [job]
    for _ in range(MAX_DEPTH):
        level = [
            each
            for outer in level
            for each in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise Inconsistent(f"the record of its job has more than {MAX_DEPTH} levels")
