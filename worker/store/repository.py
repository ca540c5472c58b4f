"""The store: its repos, branches and commits, and the two puts that change them."""

import contextlib
import enum
import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import attrs
import msgspec

from worker.model import (
    COMMIT_ID,
    BranchName,
    Commit,
    CommitName,
    InvalidName,
    Ref,
    Repo,
    parse_ref,
)
from worker.store import commits
from worker.store.backends.base import (
    AlreadyThere,
    Backend,
    Damaged,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    OnDamage,
    StoreUnavailable,
    WriteUncertain,
    fail,
    is_legal,
    read_whole,
    skip,
)
from worker.store.blobs import Stage
from worker.store.entry_rules import UNDECODABLE
from worker.store.missing import (
    ABBREVIATED,
    AmbiguousId,
    AncestorMissing,
    BranchMissing,
    CommitMissing,
    RepoMissing,
)
from worker.store.trees import SegmentCache, Tree, read_root

T = TypeVar("T")

MAX_SLOT = 10**12 - 1
"""The last slot of a branch: names of slots have twelve digits."""
MAX_SLOT_BYTES = 4096
SLOT = re.compile(r"[0-9]{12}")
HINT = re.compile(rb"[0-9]{1,12}\n?")


@attrs.frozen
class _Slot:
    """The content of a slot of a branch."""

    commit: Annotated[str, msgspec.Meta(pattern=rf"\A{COMMIT_ID.pattern}\Z")]


_decode_slot = msgspec.json.Decoder(_Slot).decode


@attrs.frozen
class Head:
    """An entry of the log of a branch: a commit that is, or was, the head."""

    slot: int
    """The position in the log, from 0."""
    commit: CommitName


class Move(enum.Enum):
    """The result of an attempt to move a branch."""

    MOVED = "moved"
    """The commit was appended to the log."""
    ALREADY = "already"
    """The commit was in the log before."""
    CHANGED = "changed"
    """The head is not the expected one, and the branch was not moved."""


@attrs.frozen
class Advance:
    """The result of an attempt to move a branch, and the entry of the log that decided it."""

    move: Move
    head: Head | None


@attrs.frozen
class Marker:
    """An object beside an input commit that names an output made from it, possibly unpublished."""

    name: str
    """The name of the object."""
    made_from: CommitName
    output: CommitName
    modified: float
    """Seconds since 1970-01-01 UTC."""


class _Any(enum.Enum):
    ANY = "any"


ANY = _Any.ANY
"""The branch may move from any head."""
Expected = Head | _Any | None
"""The only head from which a branch may move; None for a branch without one."""


class Store:
    """A store on a backend. Safe to use from several threads and processes."""

    def __init__(self, backend: Backend, *, cache: int = 16 << 20) -> None:
        """Use *backend*, and keep tree segments of at most *cache* bytes in memory."""
        self.backend = backend
        self.url = backend.url
        """The location, for ``open_store`` in this process or another."""
        self.tree_cache = SegmentCache(cache)

    @property
    def folder(self) -> Path | None:
        """The folder of a store on this machine; None for any other store."""
        below = self.backend.path("x")
        return None if below is None else below.parent

    def exists(self) -> bool:
        """Whether there is a store: a folder, or at least one repo in an object store."""
        if self.folder is None:
            return next(self.repos(skip), None) is not None
        return self.folder.exists()

    def is_missing(self) -> bool:
        """Whether the folder of the store does not exist.

        A prefix of an object store exists as soon as something is written to it.
        """
        return self.folder is not None and not self.folder.exists()

    # A listing has whatever names are in the store. *on_damage* is called with each name that no
    # worker writes, and decides whether the listing ends or goes on.

    def repos(self, on_damage: OnDamage = fail) -> Iterator[Repo]:
        """Yield every repo that was ever written to, sorted by project and name."""
        for project in self.backend.folders("repos/"):
            folder = f"repos/{project}/"
            if not is_legal(folder[:-1]):
                on_damage(_illegal(folder[:-1]))
                continue
            try:
                names = self.backend.folders(folder)
            except Damaged as damage:
                on_damage(damage)
                continue
            for name in names:
                repo = _parsed(folder + name, on_damage, Repo, project, name)
                if repo is not None:
                    yield repo

    def branches(self, repo: Repo, on_damage: OnDamage = fail) -> Iterator[BranchName]:
        """Yield the branches of *repo*, sorted; none if the repo does not exist."""
        folder = f"{_folder(repo)}branches/"
        for name in self.backend.folders(folder):
            branch = _parsed(folder + name, on_damage, BranchName, repo, name)
            if branch is not None:
                yield branch

    def commits(self, repo: Repo, on_damage: OnDamage = fail) -> Iterator[CommitName]:
        """Yield the name of every commit of *repo*, including those on no branch, sorted by id."""
        folder = f"{_folder(repo)}commits/"
        for listed in self.backend.list_from(folder):
            commit_id = listed.name.removeprefix(folder)
            name = _parsed(listed.name, on_damage, CommitName, repo, commit_id)
            if name is not None:
                yield name

    def head(self, branch: BranchName) -> Head | None:
        """Return the head of *branch*, or None if it never had one.

        Slots have consecutive numbers, so the head is the last existing slot. The search starts
        from a hint, and then needs three reads for a log of any length. Without a hint the number
        of reads grows with the logarithm of the length.
        """
        try:
            found = self.backend.get(_hint(branch), 0, MAX_SLOT_BYTES)
        except ObjectMissing:
            found = b""
        hint = int(found) if HINT.fullmatch(found) else 0
        known = self._head_at(branch, hint) if hint > 0 else None
        known = known or self._head_at(branch, 0)
        if known is None:
            return None
        step = 1
        while (further := self._head_at(branch, min(known.slot + step, MAX_SLOT))) is not None:
            if further.slot == MAX_SLOT:
                raise Damaged(_slot(branch, MAX_SLOT), "no branch has so many heads")
            known, step = further, 2 * step
        missing = min(known.slot + step, MAX_SLOT)
        while missing - known.slot > 1:
            middle = (known.slot + missing) // 2
            if (further := self._head_at(branch, middle)) is None:
                missing = middle
            else:
                known = further
        return known

    def heads(self, branch: BranchName) -> Iterator[Head]:
        """Yield the log of *branch*: all its heads, the newest first."""
        head = self.head(branch)
        while head is not None:
            yield head
            if head.slot == 0:
                return
            slot = head.slot - 1
            if (head := self._head_at(branch, slot)) is None:
                raise Damaged(_slot(branch, slot), "the object is missing")

    def slots(self, branch: BranchName, on_damage: OnDamage = fail) -> Iterator[int]:
        """Yield the numbers of the slots of *branch* that are stored, whether its log has them."""
        folder = f"{_folder(branch.repo)}branches/{branch.name}/"
        for listed in self.backend.list_from(folder):
            name = listed.name.removeprefix(folder)
            if SLOT.fullmatch(name):
                yield int(name)
            else:
                on_damage(_illegal(listed.name))

    def commit(self, name: CommitName) -> Commit:
        """Return the commit; raise CommitMissing, Damaged and UnknownFormat."""
        stored = _commit(name)
        try:
            data = read_whole(self.backend, stored, commits.MAX_STORED)
        except ObjectMissing as error:
            raise CommitMissing(name) from error
        return commits.decode(data, name, stored)

    def has(self, name: CommitName) -> bool:
        """Return whether the commit exists, without reading it."""
        return self.backend.exists(_commit(name))

    def resolve(self, ref: Ref | str) -> Commit:
        """Return the commit that *ref* names now, regardless of its path.

        A ref in the form of a commit id names a commit, or else a branch. If there is no such
        branch, the beginning of the id of exactly one commit of the repo names that commit.
        """
        return next(self.history(ref))

    def abbreviated(self, repo: Repo, start: str) -> list[CommitName]:
        """Return the commits of *repo* whose ids *start* abbreviates; none if it is too short."""
        if not ABBREVIATED.fullmatch(start):
            return []
        return [name for name in self.commits(repo) if name.id.startswith(start)]

    def history(self, ref: Ref | str) -> Iterator[Commit]:
        """Yield the commit that *ref* names now, and then its predecessors."""
        if isinstance(ref, str):
            ref = parse_ref(ref)
        start: CommitName | BranchName = ref.branch
        if ref.is_commit:
            name = CommitName(ref.repo, ref.at)
            if self.has(name) or self.head(ref.branch) is None:
                start = name
        elif self.head(ref.branch) is None:
            found = self.abbreviated(ref.repo, ref.at)
            if len(found) > 1:
                raise AmbiguousId(ref, found)
            start = found[0] if found else start
        for generation, commit in enumerate(self.log(start)):
            if generation >= ref.back:
                yield commit
        if generation < ref.back:
            raise AncestorMissing(ref, generation)

    def log(self, start: BranchName | CommitName) -> Iterator[Commit]:
        """Yield the commits of a branch, the newest first, or a commit and its ancestors.

        The log of a branch does not follow parents: two commits that were made from one head at the
        same time have the same parent, and both were a head of the branch.
        """
        if isinstance(start, BranchName):
            head = None
            for head in self.heads(start):
                yield self.commit(head.commit)
            if head is None:
                if next(self.backend.list_from(_folder(start.repo)), None) is None:
                    raise RepoMissing(start.repo, self)
                raise BranchMissing(start, self)
            return
        name: CommitName | None = start
        seen: set[str] = set()
        while name is not None:
            if name.id in seen:
                raise Damaged(_commit(name), "it is its own ancestor")
            seen.add(name.id)
            commit = self.commit(name)
            yield commit
            name = CommitName(name.repo, commit.parent) if commit.parent else None

    def tree(self, commit: Commit) -> Tree:
        """Return the files of *commit*. Reads one small object, and the rest on demand.

        Raises Damaged, also if the commit does not describe its root.
        """
        rows = read_root(self.backend, commit.root)
        tree = Tree(self.backend, commit.root, rows, self.tree_cache)
        for fault in faults(commit, tree):
            raise Damaged(_commit(commit.name), fault)
        return tree

    def empty_tree(self) -> Tree:
        """Return a tree without files and without a stored root, to apply changes to."""
        return Tree(self.backend, "", (), self.tree_cache)

    def add_commit(self, commit: Commit, stage: Stage | None = None) -> Commit:
        """Publish *commit* unless a commit of this name exists; return the existing one.

        *commit* itself is returned if this call published it. All that it names must be durable.
        The markers from its inputs to it are written first, so that none is ever missing.

        The blobs of *stage* are kept from the moment when the commit may exist, whatever interrupts
        this call, and released once it is certain that the commit does not name them. After
        WriteUncertain it is unknown; a repetition with the same commit id finds out.
        """
        data = commits.encode(commit)
        token = secrets.token_hex(8)
        for record in commit.inputs:
            # Repo and id are separate parts, as the name of a repo can be as long as a part. The
            # token makes markers of two attempts differ, as gc may be deleting that of the earlier.
            source, output = record.commit, commit.name
            self.backend.put(
                f"{_folder(source.repo)}made/{source.id}/"
                f"{output.repo.project}/{output.repo.name}/{output.id}/{token}",
                b"",
            )
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
        """Append *commit* to the log of *branch*, unless it is in it, and so make it the head.

        The log has the order of these puts; it does not depend on clocks. With *expected* (a head,
        or None for no head) the branch moves only from that head.
        """
        searched_to: int | None = None
        while True:
            head = self.head(branch)
            found = self._find(branch, commit, head, searched_to)
            if found is not None:
                return Advance(Move.ALREADY, found)
            if not isinstance(expected, _Any) and head != expected:
                return Advance(Move.CHANGED, head)
            new = Head(head.slot + 1 if head else 0, commit.name)
            # The token makes the slot differ from that of another writer of the same commit.
            row = {"commit": commit.name.id, "token": secrets.token_hex(8)}
            try:
                self.backend.put_new(_slot(branch, new.slot), json.dumps(row).encode() + b"\n")
            except AlreadyThere:
                searched_to = head.slot if head else -1
                continue
            # The hint only makes the next search fast.
            with contextlib.suppress(StoreUnavailable):
                self.backend.put(_hint(branch), b"%d\n" % new.slot)
            return Advance(Move.MOVED, new)

    def made_from(self, name: CommitName) -> Iterator[CommitName]:
        """Yield the commits that have *name* among their inputs, sorted."""
        last = None
        for marker in self.markers(name.repo, name.id):
            # Each attempt at a job has its own marker.
            if marker.output != last and self.has(marker.output):
                yield marker.output
            last = marker.output

    def markers(
        self, repo: Repo, commit_id: str = "", on_damage: OnDamage = skip
    ) -> Iterator[Marker]:
        """Yield the markers beside one commit of *repo*, or all; some name unpublished outputs.

        A marker only speeds up a search, so one with another name is skipped unless *on_damage*
        raises.
        """
        folder = f"{_folder(repo)}made/"
        for listed in self.backend.list_from(f"{folder}{commit_id}/" if commit_id else folder):
            marker = _parsed(listed.name, on_damage, _marker, repo, listed, folder)
            if marker is not None:
                yield marker

    def _find(
        self, branch: BranchName, commit: Commit, head: Head | None, searched_to: int | None
    ) -> Head | None:
        """Return the entry of *commit* in the log up to *head*.

        It can only be after its parent, which was the head when the commit was made. Slots up to
        *searched_to* have been searched before.
        """
        while head is not None:
            if head.commit == commit.name:
                return head
            if head.commit.id == commit.parent or head.slot == 0:
                return None
            if searched_to is not None and head.slot <= searched_to:
                return None
            head = self._head_at(branch, head.slot - 1)
        return None

    def _head_at(self, branch: BranchName, slot: int) -> Head | None:
        name = _slot(branch, slot)
        try:
            data = read_whole(self.backend, name, MAX_SLOT_BYTES)
            found = _decode_slot(data)
        except ObjectMissing:
            return None
        except UNDECODABLE as error:
            raise Damaged(name, f"this is not a head of a branch ({error})") from error
        return Head(slot, CommitName(branch.repo, found.commit))


def faults(commit: Commit, tree: Tree) -> Iterator[str]:
    """Yield what *commit* states of its *tree* and is not so."""
    for what, stated, found in (
        ("files", commit.files, tree.count),
        ("bytes", commit.size, tree.size),
        ("digest", commit.digest, tree.digest),
    ):
        if stated != found:
            yield f"{what}: found {found} in its tree, expected {stated}"


def _illegal(name: str) -> Damaged:
    return Damaged(ascii(name)[1:-1], "found this name, which no object of a store has")


def _parsed(found: str, on_damage: OnDamage, make: Callable[..., T], *parts: object) -> T | None:
    """Return what *make* returns for *parts* of the name *found*; None if it is no valid name."""
    try:
        if is_legal(found):
            return make(*parts)
    except InvalidName:
        pass
    on_damage(_illegal(found))
    return None


def _marker(repo: Repo, listed: Listed, folder: str) -> Marker:
    parts = listed.name.removeprefix(folder).split("/")
    if len(parts) != 5:
        raise InvalidName("marker", listed.name, "five parts")
    made_from, project, output, output_id, _token = parts
    return Marker(
        listed.name,
        CommitName(repo, made_from),
        CommitName(Repo(project, output), output_id),
        listed.modified,
    )


def _folder(repo: Repo) -> str:
    return f"repos/{repo.project}/{repo.name}/"


def _commit(name: CommitName) -> str:
    return f"{_folder(name.repo)}commits/{name.id}"


def _slot(branch: BranchName, slot: int) -> str:
    return f"{_folder(branch.repo)}branches/{branch.name}/{slot:012d}"


def _hint(branch: BranchName) -> str:
    return f"{_folder(branch.repo)}heads/{branch.name}"
