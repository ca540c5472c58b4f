"""Publishing: commit a tree, and make the commit the head of its branch.

Jobs and check-ins publish in the same way. The order of writes makes a commit atomic:

    blobs durable → segments, root → commit (put-if-absent) → slot of the branch (put-if-absent)

A failure before the commit leaves only garbage, which is deleted. From the moment when the commit
may exist, its blobs are kept in any case, as a commit without its blobs is damaged.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs

from worker.errors import Unavailable
from worker.model import BranchName, Commit, CommitName, InputRecord
from worker.store.backends.base import NoPutIfAbsent, StoreUnavailable, WriteUncertain
from worker.store.blobs import Stage
from worker.store.repository import ANY, Advance, Expected, Head, Move, Store
from worker.store.trees import Tree

Guard = Callable[[], AbstractContextManager[None]]
"""A context from the first write that other processes can see until the branch has moved."""


class BranchNotMoved(Unavailable):
    """The commit is published, but its branch could not be moved to it."""

    def __init__(self, commit: Commit, cause: StoreUnavailable) -> None:
        branch = BranchName(commit.name.repo, commit.branch)
        super().__init__(
            f"{commit.name} is published, but the branch {branch} could not be moved to it: {cause}"
        )
        self.commit = commit
        self.errno = cause.errno


class PublicationUncertain(Unavailable):
    """The store did not respond, so it is unknown whether the commit was published."""

    def __init__(self, name: CommitName, cause: StoreUnavailable) -> None:
        super().__init__(
            f"the store did not confirm the commit {name}, which may be there or not "
            f"(all that it needs is kept): {cause}"
        )
        self.errno = cause.errno


@attrs.frozen
class Draft:
    """The fields of a new commit other than its files."""

    name: CommitName
    branch: BranchName
    started: float
    finished: float
    """Seconds since 1970-01-01 UTC."""
    inputs: tuple[InputRecord, ...] = ()
    job: Mapping[str, Any] = attrs.field(factory=dict)
    message: str = ""


@attrs.frozen
class Published:
    """The commit of this name, and the result of moving its branch."""

    commit: Commit
    ours: bool
    """Whether this call published it, and not an earlier run of the same job."""
    advance: Advance

    @property
    def on_branch(self) -> bool:
        """Whether the commit is in the log of its branch."""
        return self.advance.move is not Move.CHANGED


def publish(
    store: Store,
    stage: Stage,
    tree: Tree,
    draft: Draft,
    *,
    expected: Expected = ANY,
    guard: Guard = nullcontext,
) -> Published:
    """Publish *tree* as the commit *draft* and append it to the log of its branch.

    Flushes *stage*. With *expected*, the branch moves only from that head. Raises StoreUnavailable
    if nothing was published, PublicationUncertain or BranchNotMoved.
    """
    with guard():
        commit, ours = _add(store, stage, tree, draft, expected)
        return finish(store, commit, ours=ours, expected=expected)


def keep(store: Store, stage: Stage, tree: Tree, draft: Draft) -> Commit:
    """Publish *tree* as a commit on no branch, for inspection."""
    commit, _ = _add(store, stage, tree, draft, ANY)
    return commit


def finish(
    store: Store, commit: Commit, *, ours: bool = False, expected: Expected = ANY
) -> Published:
    """Append a published commit to the log of its branch, unless it is in it."""
    branch = BranchName(commit.name.repo, commit.branch)
    try:
        return Published(commit, ours, store.advance(branch, commit, expected=expected))
    except StoreUnavailable as error:
        raise BranchNotMoved(commit, error) from error


def _add(
    store: Store, stage: Stage, tree: Tree, draft: Draft, expected: Expected
) -> tuple[Commit, bool]:
    """Add the commit; return the existing commit, and whether this call published it."""
    try:
        stage.flush()
        head = store.head(draft.branch) if expected is ANY else expected
        commit = Commit(
            name=draft.name,
            branch=draft.branch.name,
            parent=head.commit.id if isinstance(head, Head) else None,
            started=draft.started,
            finished=draft.finished,
            root=tree.root,
            digest=tree.digest,
            files=tree.count,
            size=tree.size,
            message=draft.message,
            inputs=draft.inputs,
            job=draft.job,
        )
        found = store.add_commit(commit, stage)
    except WriteUncertain as error:
        raise PublicationUncertain(draft.name, error) from error
    except (StoreUnavailable, NoPutIfAbsent):
        tree.discard()
        raise
    if found is not commit:
        tree.discard()
    return found, found is commit
