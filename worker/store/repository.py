"""Repos, branches and commits: what there is, and the two puts that change it."""

import contextlib
import enum
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from worker.errors import Misconfigured, NotFound
from worker.model import COMMIT_ID, BranchName, Commit, CommitName, Repo
from worker.store import commits
from worker.store.backends.base import (
    AlreadyThere,
    Backend,
    Damaged,
    NoPutIfAbsent,
    ObjectMissing,
    StoreUnavailable,
    WriteUncertain,
)
from worker.store.backends.local import LocalBackend
from worker.store.blobs import Stage
from worker.store.refs import Ref, parse_ref
from worker.store.trees import SegmentCache, Tree

REMOTE = ("s3", "gs", "az", "memory")


class InvalidStore(Misconfigured):
    """No store can be opened at this location."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"store: found {found!r}, expected {expected}")


class RepoMissing(NotFound):
    """The store does not have this repo."""

    def __init__(self, repo: Repo) -> None:
        super().__init__(f"{repo}: the store has no such repo")
        self.repo = repo


class BranchMissing(NotFound):
    """The repo does not have this branch."""

    def __init__(self, branch: BranchName) -> None:
        super().__init__(f"{branch}: the repo has no such branch")
        self.branch = branch


class CommitMissing(NotFound):
    """The store does not have this commit."""

    def __init__(self, name: CommitName) -> None:
        super().__init__(f"{name}: the repo has no such commit")
        self.name = name


class AncestorMissing(NotFound):
    """The history does not go back so far."""

    def __init__(self, ref: Ref, generations: int) -> None:
        super().__init__(f"{ref}: its history goes back only {generations}")
        self.ref = ref
        self.generations = generations


@attrs.frozen
class Head:
    """An entry of a branch's log: a commit that is, or was, its head."""

    slot: int
    """Counted from 0, one more with each move."""
    commit: CommitName


class Move(enum.Enum):
    """How an attempt to move a branch ended."""

    MOVED = "moved"
    """The commit was appended to the log."""
    ALREADY = "already"
    """The commit was in the log before."""
    CHANGED = "changed"
    """The head is not the expected one; the branch stays where it is."""


@attrs.frozen
class Advance:
    """How an attempt to move a branch ended, and the commit's place in the log, if it has one."""

    move: Move
    head: Head | None

    @property
    def arrived(self) -> bool:
        """Whether the commit is in the log of the branch."""
        return self.move in (Move.MOVED, Move.ALREADY)


@attrs.frozen
class Marker:
    """A mark beside an input commit that *output* was, or was to be, made from it."""

    name: str
    """The name of the object."""
    made_from: CommitName
    output: CommitName
    modified: float


class _Any(enum.Enum):
    ANY = "any"


ANY = _Any.ANY
"""The branch may move from whatever head it has."""
Expected = Head | _Any | None
"""The head from which a branch may move; None for a branch without one."""


class Store:
    """A store on a backend. Cheap to make; safe to use from several threads and processes."""

    def __init__(self, backend: Backend, *, cache: int = 16 << 20) -> None:
        """Take the store on *backend*; *cache* bounds the bytes of tree segments kept in memory."""
        self.backend = backend
        self.tree_cache = SegmentCache(cache)

    @property
    def url(self) -> str:
        """What ``open_store`` takes to open it again, in this process or another."""
        return self.backend.url

    def repos(self) -> Iterator[Repo]:
        """Yield every repo that was ever written to, sorted by project and name."""
        for project in self.backend.folders("repos/"):
            for name in self.backend.folders(f"repos/{project}/"):
                yield Repo(project, name)

    def branches(self, repo: Repo) -> Iterator[BranchName]:
        """Yield the branches of *repo*, sorted; none if there is no such repo."""
        for name in self.backend.folders(f"{_folder(repo)}branches/"):
            yield BranchName(repo, name)

    def commits(self, repo: Repo) -> Iterator[CommitName]:
        """Yield the name of every commit of *repo*, also of those on no branch, sorted by id."""
        for listed in self.backend.list_from(f"{_folder(repo)}commits/"):
            yield CommitName(repo, listed.name.rpartition("/")[2])

    def head(self, branch: BranchName) -> Head | None:
        """Return the head of *branch*; None if it never had one.

        Slots are numbered without gaps, so the head is the last one that is there. The search
        starts from a hint, which costs three reads however long the log is; without a hint the
        number of reads grows with the logarithm of the length.
        """
        known = self._head_at(branch, hint) if (hint := self._hint(branch)) else None
        known = known or self._head_at(branch, 0)
        if known is None:
            return None
        step = 1
        while (further := self._head_at(branch, known.slot + step)) is not None:
            known, step = further, 2 * step
        missing = known.slot + step
        while missing - known.slot > 1:
            middle = (known.slot + missing) // 2
            if (further := self._head_at(branch, middle)) is None:
                missing = middle
            else:
                known = further
        return known

    def heads(self, branch: BranchName) -> Iterator[Head]:
        """Yield the log of *branch*: every head that it had, the newest first."""
        head = self.head(branch)
        while head is not None:
            yield head
            if head.slot == 0:
                return
            slot = head.slot - 1
            if (head := self._head_at(branch, slot)) is None:
                raise Damaged(_slot(branch, slot), "the object is missing")

    def commit(self, name: CommitName) -> Commit:
        """Return the commit; raise CommitMissing."""
        try:
            return commits.decode(self.backend.get(_commit(name)), name)
        except ObjectMissing as error:
            raise CommitMissing(name) from error

    def resolve(self, ref: Ref | str) -> Commit:
        """Return the commit that *ref* means now; its path plays no part.

        What has the form of a commit's id is a commit if there is one, else a branch.
        """
        return next(self.history(ref))

    def history(self, ref: Ref | str) -> Iterator[Commit]:
        """Yield the commit that *ref* means now, and then those that came before it."""
        if isinstance(ref, str):
            ref = parse_ref(ref)
        for generation, commit in enumerate(self.log(self._start(ref))):
            if generation >= ref.back:
                yield commit
        if generation < ref.back:
            raise AncestorMissing(ref, generation)

    def log(self, start: BranchName | CommitName) -> Iterator[Commit]:
        """Yield the commits of a branch, the newest first; from a commit on, parent by parent.

        A branch is not followed by parents: of two commits that were made from one head at the same
        time, both were its head, and have the same parent.
        """
        if isinstance(start, BranchName):
            head = None
            for head in self.heads(start):
                yield self.commit(head.commit)
            if head is None:
                raise self._missing(start)
            return
        name: CommitName | None = start
        while name is not None:
            commit = self.commit(name)
            yield commit
            name = CommitName(name.repo, commit.parent) if commit.parent else None

    def tree(self, commit: Commit) -> Tree:
        """Return the files of *commit*: one small object is read, the rest when it is asked for."""
        return Tree.open(self.backend, commit.root, self.tree_cache)

    def empty_tree(self) -> Tree:
        """Return the tree without files, to apply changes to."""
        return Tree(self.backend, "", (), self.tree_cache)

    def add_commit(self, commit: Commit, stage: Stage | None = None) -> Commit:
        """Publish *commit*, unless there is a commit of this name, and return the one there is.

        It is *commit* itself if this call published it. Everything that it names must be durable
        before. The markers that lead from its inputs to it go first, so that none is missing.

        The blobs of *stage* are kept from the moment at which the commit may exist, whatever
        interrupts this call, and released once it is certain that it does not name them. After
        WriteUncertain nobody knows: the same commit id tried again finds out.
        """
        data = commits.encode(commit)
        token = secrets.token_hex(8)
        for record in commit.inputs:
            self.backend.put(_marker(record.commit, commit.name, token), b"")
        kept_before = stage is not None and stage.kept
        if stage is not None:
            stage.kept = True
        try:
            self.backend.put_new(_commit(commit.name), data)
        except WriteUncertain:
            raise
        except (AlreadyThere, StoreUnavailable, NoPutIfAbsent) as error:
            if stage is not None:
                stage.kept = kept_before
            if isinstance(error, AlreadyThere):
                return self.commit(commit.name)
            raise
        return commit

    def advance(self, branch: BranchName, commit: Commit, *, expected: Expected = ANY) -> Advance:
        """Append *commit* to the log of *branch*, where it becomes the head, unless it is in it.

        The order of the log is that of these puts; no clock plays a part. With *expected* (a head,
        or None for no head) the branch moves only from there.
        """
        looked_down_to: int | None = None
        while True:
            head = self.head(branch)
            found = self._find(branch, commit, head, looked_down_to)
            if found is not None:
                return Advance(Move.ALREADY, found)
            if not isinstance(expected, _Any) and head != expected:
                return Advance(Move.CHANGED, head)
            wished = Head(head.slot + 1 if head else 0, commit.name)
            try:
                self.backend.put_new(_slot(branch, wished.slot), _encode_head(wished))
            except AlreadyThere:
                looked_down_to = head.slot if head else -1
                continue
            # The hint only makes the next look-up fast.
            with contextlib.suppress(StoreUnavailable):
                self.backend.put(_hint(branch), b"%d\n" % wished.slot)
            return Advance(Move.MOVED, wished)

    def _find(
        self, branch: BranchName, commit: Commit, head: Head | None, looked_down_to: int | None
    ) -> Head | None:
        """Return the place of *commit* in the log up to *head*.

        Its parent was the head when it was made, so it can only come after its parent. Slots up to
        *looked_down_to* were searched before.
        """
        while head is not None:
            if head.commit == commit.name:
                return head
            if head.commit.id == commit.parent or head.slot == 0:
                return None
            if looked_down_to is not None and head.slot <= looked_down_to:
                return None
            head = self._head_at(branch, head.slot - 1)
        return None

    def made_from(self, name: CommitName) -> Iterator[CommitName]:
        """Yield the commits that have *name* among their inputs, sorted."""
        last = None
        for marker in self._markers(name.repo, f"{name.id}/"):
            # Each attempt at a job has a marker of its own.
            if marker.output != last and self.has(marker.output):
                yield marker.output
            last = marker.output

    def markers(self, repo: Repo) -> Iterator[Marker]:
        """Yield the markers beside all commits of *repo*, also those of commits that never came."""
        return self._markers(repo, "")

    def has(self, name: CommitName) -> bool:
        """Whether the store has this commit."""
        return self.backend.exists(_commit(name))

    def _markers(self, repo: Repo, below: str) -> Iterator[Marker]:
        for listed in self.backend.list_from(f"{_folder(repo)}made/{below}"):
            *_, made_from, project, output, output_id, _token = listed.name.split("/")
            yield Marker(
                listed.name,
                CommitName(repo, made_from),
                CommitName(Repo(project, output), output_id),
                listed.modified,
            )

    def _start(self, ref: Ref) -> CommitName | BranchName:
        if ref.is_commit:
            name = CommitName(ref.repo, ref.at)
            if self.has(name) or self.head(ref.branch) is None:
                return name
        return ref.branch

    def _missing(self, branch: BranchName) -> NotFound:
        known = next(self.backend.list_from(_folder(branch.repo)), None)
        return RepoMissing(branch.repo) if known is None else BranchMissing(branch)

    def _head_at(self, branch: BranchName, slot: int) -> Head | None:
        name = _slot(branch, slot)
        try:
            return _decode_head(branch, name, slot, self.backend.get(name))
        except ObjectMissing:
            return None

    def _hint(self, branch: BranchName) -> int:
        """Return a slot that was the head's once; 0 if there is no hint, or no readable one."""
        try:
            return max(0, int(self.backend.get(_hint(branch))))
        except (ObjectMissing, ValueError):
            return 0


def open_store(where: str | Path, options: Mapping[str, str] | None = None) -> Store:
    """Return the store at *where*: a directory, or a URL of file, s3, gs, az or memory.

    Nothing is read or created; the first write creates a directory. *options* are those of obstore
    (``endpoint``, ``region``, ``access_key_id``, …). They take precedence over the usual variables
    of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_…``, ``AZURE_…``). A
    store at ``memory://NAME`` belongs to the process. Raises InvalidStore.
    """
    text = os.fspath(where)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Store(LocalBackend(Path(text).absolute()))
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidStore(text, "file:///an/absolute/path")
        return Store(LocalBackend(Path(unquote(parts.path))))
    if scheme not in REMOTE:
        raise InvalidStore(text, "a directory, or a URL of file, " + ", ".join(REMOTE))
    if "@" in rest.partition("/")[0]:
        raise InvalidStore(
            f"{scheme}://…@…", "no credentials in the URL; put them in the environment"
        )
    # The object-store library takes time and memory to load, and a directory needs none of it.
    from worker.store.backends.remote import open_remote

    return Store(open_remote(text, dict(options or {})))


def _folder(repo: Repo) -> str:
    return f"repos/{repo.project}/{repo.name}/"


def _commit(name: CommitName) -> str:
    return f"{_folder(name.repo)}commits/{name.id}"


def _slots(branch: BranchName) -> str:
    return f"{_folder(branch.repo)}branches/{branch.name}/"


def _slot(branch: BranchName, slot: int) -> str:
    return f"{_slots(branch)}{slot:012d}"


def _hint(branch: BranchName) -> str:
    return f"{_folder(branch.repo)}heads/{branch.name}"


def _marker(made_from: CommitName, output: CommitName, token: str) -> str:
    # The repo and the id are parts of their own, as a repo's name can be as long as a part can.
    # The token lets no two attempts share a marker: gc may be deleting that of an earlier one.
    return (
        f"{_folder(made_from.repo)}made/{made_from.id}/"
        f"{output.repo.project}/{output.repo.name}/{output.id}/{token}"
    )


def _encode_head(head: Head) -> bytes:
    # The token tells this writer's slot from that of another who appends the same commit.
    row = {"commit": head.commit.id, "token": secrets.token_hex(8)}
    return json.dumps(row).encode() + b"\n"


def _decode_head(branch: BranchName, name: str, slot: int, data: bytes) -> Head:
    try:
        commit_id = json.loads(data)["commit"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(name, "this is not a head of a branch") from error
    if not isinstance(commit_id, str) or not COMMIT_ID.fullmatch(commit_id):
        raise Damaged(name, "this head of a branch names no commit")
    return Head(slot, CommitName(branch.repo, commit_id))
