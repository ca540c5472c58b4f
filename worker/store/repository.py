"""Repos, branches and commits: what is there, and the two puts that change it."""

import enum
import json
from collections.abc import Iterator

import attrs

from worker.errors import NotFound
from worker.store import commits
from worker.store.backends.base import AlreadyThere, Backend, Damaged, ObjectMissing
from worker.store.model import COMMIT_ID, BranchName, Commit, CommitName, Repo
from worker.store.refs import Ref, parse_ref
from worker.store.trees import SegmentCache, Tree

# Slots are counted down, so that the head is the first name of a listing.
LAST_SLOT = 10**12 - 1


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
    """A commit a branch points to, or once pointed to."""

    slot: int
    """Counted from 0, one more with each move."""
    commit: CommitName
    finished: float
    """When the commit was finished, as it says itself."""


class Move(enum.Enum):
    """What became of the wish to move a branch."""

    MOVED = "moved"
    """The commit is the head now, and was not before."""
    ALREADY = "already"
    """The commit was the head already."""
    NEWER = "newer"
    """The head finished after the commit did; the branch stays where it is."""
    CHANGED = "changed"
    """The head is not the expected one; the branch stays where it is."""


@attrs.frozen
class Advance:
    """How moving a branch ended, and the head as it is now."""

    move: Move
    head: Head | None

    @property
    def arrived(self) -> bool:
        """Whether the commit is the head of the branch."""
        return self.move in (Move.MOVED, Move.ALREADY)


@attrs.frozen
class Marker:
    """A mark beside a commit that *output* was made from it, or was to be."""

    name: str
    """The name of the object."""
    made_from: CommitName
    output: CommitName
    modified: float


class _Any(enum.Enum):
    ANY = "any"


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
        for project in self._folders("repos/"):
            for name in self._folders(f"repos/{project}/"):
                yield Repo(project, name)

    def branches(self, repo: Repo) -> Iterator[BranchName]:
        """Yield the branches of *repo*, sorted; none if there is no such repo."""
        for name in self._folders(f"{_folder(repo)}branches/"):
            yield BranchName(repo, name)

    def commits(self, repo: Repo) -> Iterator[CommitName]:
        """Yield the name of every commit of *repo*, also of those on no branch, sorted by id."""
        for listed in self.backend.list_from(f"{_folder(repo)}commits/"):
            yield CommitName(repo, listed.name.rpartition("/")[2])

    def head(self, branch: BranchName) -> Head | None:
        """Return the head of *branch*; None if it never had one."""
        return next(self.heads(branch), None)

    def heads(self, branch: BranchName) -> Iterator[Head]:
        """Yield every head *branch* had, the newest first."""
        for listed in self.backend.list_from(_slots(branch)):
            yield self._head(branch, listed.name)

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
        return Tree.empty(self.backend, self.tree_cache)

    def add_commit(self, commit: Commit) -> Commit:
        """Return the commit that has this name now: this one, or the one that was there first.

        Everything that the commit names must be durable before. The markers that lead from its
        inputs to it go first, so that none is missing; one that leads nowhere does no harm.
        """
        for record in commit.inputs:
            self.backend.put(_marker(record.commit, commit.name), b"")
        try:
            self.backend.put_new(_commit(commit.name), commits.encode(commit))
        except AlreadyThere:
            return self.commit(commit.name)
        return commit

    def advance(
        self, branch: BranchName, commit: Commit, *, expected: Head | _Any | None = _Any.ANY
    ) -> Advance:
        """Make *commit* the head of *branch*, unless something newer is there.

        A branch never goes to a commit that finished before its head did: a worker that is run
        again after a crash finishes its branch only if nothing newer arrived in between. With
        *expected* (a head, or None for no head) the branch moves only from there.
        """
        while True:
            head = self.head(branch)
            if head is not None and head.commit == commit.name:
                return Advance(Move.ALREADY, head)
            if not isinstance(expected, _Any) and head != expected:
                return Advance(Move.CHANGED, head)
            if head is not None and head.finished > commit.finished:
                return Advance(Move.NEWER, head)
            wished = Head(head.slot + 1 if head else 0, commit.name, commit.finished)
            try:
                self.backend.put_new(_slot(branch, wished.slot), _encode_head(wished))
            except AlreadyThere:
                continue
            return Advance(Move.MOVED, wished)

    def made_from(self, name: CommitName) -> Iterator[CommitName]:
        """Yield the commits that have *name* among their inputs, sorted."""
        for marker in self._markers(name.repo, f"{name.id}/"):
            if self.has(marker.output):
                yield marker.output

    def markers(self, repo: Repo) -> Iterator[Marker]:
        """Yield the marks beside all commits of *repo*, also those of commits that never came."""
        return self._markers(repo, "")

    def has(self, name: CommitName) -> bool:
        """Whether the store has this commit."""
        try:
            self.backend.get(_commit(name))
        except ObjectMissing:
            return False
        return True

    def _markers(self, repo: Repo, below: str) -> Iterator[Marker]:
        for listed in self.backend.list_from(f"{_folder(repo)}made/{below}"):
            *_, made_from, project, output, output_id = listed.name.split("/")
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

    def _head(self, branch: BranchName, name: str) -> Head:
        return _decode_head(branch, name, self.backend.get(name))

    def _folders(self, prefix: str) -> list[str]:
        """Return the names directly below *prefix*, sorted; the backend is asked once for each."""
        names = []
        after = ""
        while (first := next(self.backend.list_from(prefix, after), None)) is not None:
            name = first.name[len(prefix) :].partition("/")[0]
            names.append(name)
            after = f"{prefix}{name}0"  # "0" is the character after "/": past all that is below
        # Listed were a-b/… and then a/…, by the slash that follows.
        return sorted(names)


def _folder(repo: Repo) -> str:
    return f"repos/{repo.project}/{repo.name}/"


def _commit(name: CommitName) -> str:
    return f"{_folder(name.repo)}commits/{name.id}"


def _slots(branch: BranchName) -> str:
    return f"{_folder(branch.repo)}branches/{branch.name}/"


def _slot(branch: BranchName, slot: int) -> str:
    return f"{_slots(branch)}{LAST_SLOT - slot:012d}"


def _marker(made_from: CommitName, output: CommitName) -> str:
    # The repo and the id are parts of their own, as a repo's name can be as long as a part can.
    return (
        f"{_folder(made_from.repo)}made/{made_from.id}/"
        f"{output.repo.project}/{output.repo.name}/{output.id}"
    )


def _encode_head(head: Head) -> bytes:
    return json.dumps({"commit": head.commit.id, "finished": head.finished}).encode() + b"\n"


def _decode_head(branch: BranchName, name: str, data: bytes) -> Head:
    try:
        said = json.loads(data)
        commit_id, finished = said["commit"], float(said["finished"])
        slot = LAST_SLOT - int(name.rpartition("/")[2])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(name, "this is not a head of a branch") from error
    if not isinstance(commit_id, str) or not COMMIT_ID.fullmatch(commit_id):
        raise Damaged(name, "this head of a branch names no commit")
    return Head(slot, CommitName(branch.repo, commit_id), finished)
