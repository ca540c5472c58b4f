"""Words that set a scene: a job document, a commit of these files."""

import base64
import hashlib
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worker.model import BranchName, Checksum, Commit, CommitName, Entry, Extent, InputRecord, Repo
from worker.s3.checksums import ALGORITHMS
from worker.store.blobs import Stage
from worker.store.repository import Store
from worker.store.trees import apply

_numbers = itertools.count(1)


def an_id() -> str:
    """Return an id of a commit or job that no other test has."""
    return f"{next(_numbers):032x}"


def an_input(name: str = "labresults", **changes: Any) -> dict[str, Any]:
    """Return an S3 input of a job document."""
    return {"pfs": {"repo": name, "name": name, "glob": "/", "s3": True, **changes}}


def a_job(*stdin: str, inputs: tuple[dict[str, Any], ...] = (), **changes: Any) -> dict[str, Any]:
    """Return a job document whose command is a shell that reads these lines."""
    nodes = list(inputs) or [an_input()]
    return {
        "pipeline": {"name": "copy"},
        "input": nodes[0] if len(nodes) == 1 else {"cross": nodes},
        "transform": {"cmd": ["sh"], "stdin": ["set -e", *stdin]},
        "s3Out": True,
        **changes,
    }


def an_entry(key: str, data: bytes, extents: tuple[Extent, ...], *, modified: int = 0) -> Entry:
    """Return the entry of a file that was put in one go."""
    return Entry(
        key=key,
        size=len(data),
        etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        modified=modified,
        extents=extents,
    )


def a_commit(
    store: Store,
    files: dict[str, bytes],
    *,
    repo: str = "labresults",
    branch: str = "master",
    named: str | None = None,
    inputs: tuple[InputRecord, ...] = (),
    job: dict[str, Any] | None = None,
) -> Commit:
    """Put a commit of exactly *files* on the branch and return it."""
    target = BranchName(Repo("default", repo), branch)
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(store.backend, f"test-{an_id()}", writer="test", scratch=Path(scratch))
        changes = [
            (key, an_entry(key, data, (stage.append(data),) if data else ()))
            for key, data in sorted(files.items())
        ]
        stage.flush()
    tree = apply(store.empty_tree(), changes)
    head = store.head(target)
    moment = float(head.slot + 1 if head else 0)
    commit = Commit(
        name=CommitName(target.repo, named or an_id()),
        branch=branch,
        parent=head.commit.id if head else None,
        started=moment,
        finished=moment,
        root=tree.root,
        digest=tree.digest,
        files=tree.count,
        size=tree.size,
        inputs=inputs,
        job=job or {},
    )
    store.add_commit(commit)
    store.advance(target, commit)
    return commit


def checksum_of(algorithm: str, pieces: Iterable[bytes]) -> Checksum:
    """Return the checksum of *pieces* one after the other."""
    running = ALGORITHMS[algorithm].new()
    for piece in pieces:
        running.update(piece)
    return Checksum(algorithm, base64.b64encode(running.digest()).decode())
