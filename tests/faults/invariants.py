"""A put, a gc and a run, and the invariants of the store that hold after a disturbance.

A ``Scenario`` is one command on a small store: the store before it, its arguments, and its effect.
``Scenario.check`` returns the violated invariants. It uses the public functions of the store only.
"""

import enum
import hashlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from builders import a_job, an_input

from worker.cli import failures
from worker.model import BranchName, Commit, CommitName, Repo
from worker.store.checkin import put_directory
from worker.store.checkout import get_directory
from worker.store.gc import GRACE, Collected, gc
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.verify import verify

LAB = BranchName(Repo("default", "lab"))
GONE = BranchName(Repo("default", "gone"))
COPY = BranchName(Repo("default", "copy"))
LARGE = bytes(range(256)) * (6 << 12)
"""6 MiB: more than one request writes."""
DOCUMENTED = frozenset({0, 10, 11, 12, 13, 14, 64, 66, 69, 70, 73, 75, 77, 78})
"""The exit statuses in docs/run.md."""


class Invariant(enum.Enum):
    """A property that holds after a disturbed command."""

    SURVIVED = "a single fault is tolerated"
    """The failed request is retried, and the command exits with 0."""
    ENDED = "the exit status is documented"
    TRUE = "the exit status is true"
    """0 if and only if the commit exists and is on its branch; for gc, no garbage is left."""
    KEPT = "nothing is lost"
    """Data acknowledged earlier, or by exit status 0 of this command, is readable and unchanged."""
    WHOLE = "verify finds no defect"
    AGAIN = "repeating the command succeeds"
    ONCE = "published once"
    """The log of the branch has one commit of this job or content."""
    ON_BRANCH = "every commit is on its branch"
    CLEAN = "gc removes all garbage"


@attrs.frozen
class Violation:
    """A violated invariant, with the evidence."""

    invariant: Invariant
    found: str

    def __str__(self) -> str:
        return f"{self.invariant.value}: {self.found}"


@attrs.frozen
class Scenario:
    """One command on a small store."""

    name: str
    url: str
    """The store before the command. It is copied, and not changed."""
    branch: BranchName
    """The branch that the command moves; for gc, a branch that it must not change."""
    history: tuple[CommitName, ...]
    """The log of the branch before the command, newest first."""
    before: dict[str, bytes] | None
    """The files of the head of the branch before the command; None without a branch."""
    after: dict[str, bytes]
    """The files of the head after the command."""
    arguments: tuple[str, ...]
    """The arguments of the command line."""
    commit: str | None = None
    """The id of the commit that the command creates, if it is known in advance."""

    @property
    def publishes(self) -> bool:
        """Whether the command creates a commit."""
        return self.name != "gc"

    def copy_to(self, where: str, options: dict[str, str] | None = None) -> Store:
        """Return a copy of the store before the command."""
        if "://" not in self.url:
            shutil.copytree(self.url, where, copy_function=shutil.copy2)
            return open_store(where)
        template, copy = open_store(self.url), open_store(where, options)
        for listed in template.backend.list_from(""):
            copy.backend.put(listed.name, template.backend.get(listed.name))
        return copy

    def call(self, store: Store) -> tuple[int, str]:
        """Run the command in this process; return its exit status and the reason of a failure."""
        try:
            if self.name == "gc":
                collect(store)
            else:
                assert self.name == "put"
                put_directory(store, self.branch, Path(self.arguments[-1]))
        except Exception as error:
            return failures.cause_of(error).exit_status, failures.explain(error)
        return 0, ""

    def check(
        self,
        store: Store,
        code: int | None,
        again: Callable[[], int],
        *,
        single_fault: bool = True,
    ) -> list[Violation]:
        """Return the invariants that are violated after the command exited with *code*.

        *code* is None if the command was killed. *again* repeats the command without a disturbance
        and returns its exit status.
        """
        found: list[Violation] = []

        def expect(invariant: Invariant, holds: bool, text: str) -> None:
            if not holds:
                found.append(Violation(invariant, text))

        if code is not None:
            expect(Invariant.SURVIVED, code == 0 or not single_fault, f"exit {code}")
            expect(Invariant.ENDED, code in DOCUMENTED, f"exit {code}")
        self._check_store(store, code, expect)
        second = again()
        expect(Invariant.AGAIN, second == 0, f"exit {second} after exit {code}")
        self._check_store(store, None, expect)
        with _readable(expect, Invariant.ONCE):
            new, off = self._new_commits(store)
            if second == 0 and self.publishes:
                expect(Invariant.ONCE, len(new) == 1, f"{len(new)} new commits in the log")
                wanted = self.commit or (new and new[0].id)
                expect(Invariant.ONCE, [wanted] == [n.id for n in new], f"the log has {new}")
            if code is not None or self.commit is not None:
                expect(Invariant.ON_BRANCH, not off, f"{len(off)} commits on no branch")
        with _readable(expect, Invariant.CLEAN):
            collect(store)
            left = collect(store)
            counts = (left.blobs, left.trees, left.leftovers)
            expect(Invariant.CLEAN, (0, 0, 0) == counts, f"a second gc removes {counts}")
        self._check_store(store, None, expect)
        return found

    def _check_store(
        self, store: Store, code: int | None, expect: Callable[[Invariant, bool, str], None]
    ) -> None:
        """Check what holds at any time; *code* is the status of a command that just ended."""
        store = open_store(store.url, _options.get(store.url))
        with _readable(expect, Invariant.WHOLE):
            defects = verify(store).defects
            expect(Invariant.WHOLE, not defects, f"{len(defects)} defects, {defects[:1]}")
        with _readable(expect, Invariant.KEPT):
            new, _ = self._new_commits(store)
            for name in self.history:
                lost = _difference(contents(store, store.commit(name)), self._content(name))
                expect(Invariant.KEPT, not lost, f"{name}, committed before: {lost}")
            for name in new:
                lost = _difference(contents(store, store.commit(name)), self.after)
                expect(Invariant.KEPT, not lost, f"{name}: {lost}")
            kept = all(name in log(store, self.branch) for name in self.history)
            expect(Invariant.KEPT, kept, "an earlier commit is missing from the log")
            if code is None:
                return
            if self.publishes:
                state = "is" if new else "is not"
                text = f"exit {code}, but the commit {state} on its branch"
                expect(Invariant.TRUE, (code == 0) == bool(new), text)
            elif code == 0:
                left = collect(store)
                counts = (left.blobs, left.trees)
                expect(
                    Invariant.TRUE, (0, 0) == counts, f"exit 0, but a second gc removes {counts}"
                )

    def _content(self, _name: CommitName) -> dict[str, bytes]:
        assert self.before is not None
        return self.before

    def _new_commits(self, store: Store) -> tuple[list[CommitName], list[CommitName]]:
        """Return the new commits in the log of the branch, and the commits in no log."""
        there = log(store, self.branch)
        new = [name for name in there if name not in self.history]
        return new, [name for name in store.commits(self.branch.repo) if name not in there]


_options: dict[str, dict[str, str]] = {}


def open_directly(url: str, options: dict[str, str] | None = None) -> Store:
    """Open the store at *url* for checks; *options* are remembered to open it again."""
    if options is not None:
        _options[url] = options
    return open_store(url, options)


def collect(store: Store) -> Collected:
    """Run gc after the grace period of all objects in the store."""
    return gc(store, now=time.time() + GRACE + 60)


def log(store: Store, branch: BranchName) -> list[CommitName]:
    """Return the commits in the log of *branch*, newest first; none without a branch."""
    if branch not in store.branches(branch.repo):
        return []
    return [commit.name for commit in store.log(branch)]


def contents(store: Store, commit: Commit) -> dict[str, bytes]:
    """Return the files of *commit* as ``worker get`` writes them."""
    with tempfile.TemporaryDirectory(prefix="worker-get-") as folder:
        unwritten = get_directory(store, commit, Path(folder))
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }
    return found | {each.key: b"(not read: " + each.reason.encode() for each in unwritten}


def write_files(folder: Path, content: dict[str, bytes]) -> Path:
    """Make *content* the whole content of *folder*."""
    shutil.rmtree(folder, ignore_errors=True)
    for key, data in content.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


OLD = {"same": b"same", "small": b"old", "below/gone": b"gone"}
NEW = {"same": b"same", "small": b"new", "large": LARGE}


def a_put(url: str, folder: Path) -> Scenario:
    """Return a put of a changed directory: one file added, one removed, one with other bytes."""
    store = open_store(url)
    write_files(folder, OLD)
    first = put_directory(store, LAB, folder)
    write_files(folder, NEW)
    return Scenario(
        name="put",
        url=url,
        branch=LAB,
        history=(first.name,),
        before=OLD,
        after=NEW,
        arguments=("put", "lab", str(folder)),
    )


def a_gc(url: str, folder: Path) -> Scenario:
    """Return a gc of a store with a commit, and with the objects of a removed commit."""
    store = open_store(url)
    write_files(folder, OLD)
    first = put_directory(store, LAB, folder)
    write_files(folder, {"large": LARGE[::-1], "other": b"other"})
    put_directory(store, GONE, folder)
    for listed in list(store.backend.list_from("repos/default/gone/")):
        store.backend.delete(listed.name)
    return Scenario(
        name="gc",
        url=url,
        branch=LAB,
        history=(first.name,),
        before=OLD,
        after=OLD,
        arguments=("gc", "--older-than", "0s"),
    )


def a_run(url: str, folder: Path) -> Scenario:
    """Return a job with one try that copies an object of its input and writes a large one."""
    store = open_store(url)
    write_files(folder / "input", OLD)
    put_directory(store, BranchName(Repo("default", "labresults")), folder / "input")
    large = folder / "large"
    large.write_bytes(LARGE)
    job_id = uuid.uuid4().hex
    document = a_job(
        "curl -sf $S3_ENDPOINT/labresults/small -o small.tmp",
        "curl -sf -T small.tmp $S3_ENDPOINT/out/small",
        f"curl -sf -T {large} $S3_ENDPOINT/out/large",
        "rm small.tmp",
        inputs=(an_input(),),
        job={"id": job_id},
        datumTries=1,
    )
    path = folder / "job.json"
    path.write_text(json.dumps(document))
    return Scenario(
        name="run",
        url=url,
        branch=COPY,
        history=(),
        before=None,
        after={"small": OLD["small"], "large": LARGE},
        arguments=("run", "--job", str(path)),
        commit=job_id,
    )


SCENARIOS = {"put": a_put, "gc": a_gc, "run": a_run}


@contextmanager
def _readable(
    expect: Callable[[Invariant, bool, str], None], invariant: Invariant
) -> Iterator[None]:
    """Report an error in the block as a violation of *invariant*."""
    try:
        yield
    except Exception as error:
        expect(invariant, False, f"{type(error).__name__}: {error}")


def _difference(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Return the files that differ; empty if none does."""
    keys = sorted(found.keys() | wanted.keys())
    return ", ".join(
        f"{key}: {_digest(found.get(key))} instead of {_digest(wanted.get(key))}"
        for key in keys
        if found.get(key) != wanted.get(key)
    )


def _digest(data: bytes | None) -> str:
    return "nothing" if data is None else f"{len(data)} bytes {hashlib.md5(data).hexdigest()[:8]}"
