"""The output commit: a tree from the frozen index, provenance, the commit, the branch."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from worker.errors import Unavailable
from worker.store.model import BranchName, Commit, CommitName, Entry, InputRecord
from worker.store.repository import Store
from worker.store.trees import apply


class NotPublished(Unavailable):
    """The output could not be made a commit; another run of the same job can."""


@attrs.frozen
class Draft:
    """What an output commit says beside its files."""

    name: CommitName
    branch: BranchName
    inputs: tuple[InputRecord, ...]
    job: Mapping[str, Any]
    started: float
    finished: float
    message: str = ""


@attrs.frozen
class Published:
    """The commit that is there, and whose it is."""

    commit: Commit
    ours: bool
    """Whether this run made it; another run of the same job may have been first."""
    branch_moved: bool
    """Whether it is the head of its branch."""


def publish(store: Store, draft: Draft, entries: Iterable[Entry]) -> Published:
    """Make the output commit of *entries*, sorted by key, and move the branch to it.

    Everything the entries name must be durable. Adding the commit is the one moment that others
    can see; whatever was written before it is garbage if it never comes.
    """
    commit = _add(store, draft, entries)
    ours = commit.job.get("run") == draft.job.get("run")
    return finish(store, commit, ours=ours)


def finish(store: Store, commit: Commit, *, ours: bool = False) -> Published:
    """Move the branch to a commit that is there, unless something newer is on it."""
    branch = BranchName(commit.name.repo, commit.branch)
    return Published(commit, ours, branch_moved=store.advance(branch, commit).arrived)


def keep(store: Store, draft: Draft, entries: Iterable[Entry]) -> Commit:
    """Make a commit of *entries* that is on no branch, to be looked at."""
    return _add(store, draft, entries)


def _add(store: Store, draft: Draft, entries: Iterable[Entry]) -> Commit:
    tree = apply(store.empty_tree(), ((entry.key, entry) for entry in entries))
    head = store.head(draft.branch)
    return store.add_commit(
        Commit(
            name=draft.name,
            branch=draft.branch.name,
            parent=head.commit.id if head else None,
            started=draft.started,
            # Made after the head, whatever the clock of the machine that made the head said.
            finished=max(draft.finished, head.finished) if head else draft.finished,
            root=tree.root,
            digest=tree.digest,
            files=tree.count,
            size=tree.size,
            message=draft.message,
            inputs=draft.inputs,
            job=draft.job,
        )
    )
