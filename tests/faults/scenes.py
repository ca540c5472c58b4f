"""A put, a gc and a run with all that must hold of the store after they were disturbed.

A ``Scene`` is one command on a small store: the store before it, how it is called, and what is true
after it. ``Scene.judge`` names each invariant that does not hold; it works through the public
functions of the store only.
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
from worker.store.repository import Store, open_store
from worker.store.verify import verify

LAB = BranchName(Repo("default", "lab"))
GONE = BranchName(Repo("default", "gone"))
COPY = BranchName(Repo("default", "copy"))
LARGE = bytes(range(256)) * (6 << 12)
"""6 MiB: more than what is written in one request."""
DOCUMENTED = frozenset({0, 10, 11, 12, 13, 14, 64, 66, 69, 70, 73, 75, 77, 78})
"""The exit codes that docs/run.md lists."""


class Invariant(enum.Enum):
    """What holds after a disturbed command."""

    SURVIVED = "a single fault is survived"
    """One failed request is retried: the command ends with 0."""
    ENDED = "the exit code is documented"
    TRUE = "the exit code is true"
    """0 if, and only if, the commit is there and on its branch; for gc, if the garbage is gone."""
    KEPT = "nothing is lost"
    """What was acknowledged before, or by this command with 0, reads back byte by byte."""
    WHOLE = "verify is clean"
    AGAIN = "the same command again succeeds"
    ONCE = "published once"
    """One commit of this job or content is in the branch's log."""
    ON_BRANCH = "no commit is off its branch"
    CLEAN = "gc removes what is left"


@attrs.frozen
class Violation:
    """An invariant that does not hold, and how it shows."""

    invariant: Invariant
    found: str

    def __str__(self) -> str:
        return f"{self.invariant.value}: {self.found}"


@attrs.frozen
class Scene:
    """One command on a store."""

    name: str
    url: str
    """The store before the command; it is copied, never changed."""
    branch: BranchName
    """The branch that the command moves; for gc, the one that it must leave alone."""
    history: tuple[CommitName, ...]
    """The log of the branch before, the newest first."""
    before: dict[str, bytes] | None
    """The files of the branch's head before the command; None without a branch."""
    after: dict[str, bytes]
    """The files of its head after it."""
    arguments: tuple[str, ...]
    """The command line."""
    commit: str | None = None
    """The id of the commit that the command makes, where it is known before."""

    @property
    def publishes(self) -> bool:
        """Whether the command makes a commit."""
        return self.name != "gc"

    def copy_to(self, where: str, options: dict[str, str] | None = None) -> Store:
        """Return a copy of the store from before the command."""
        if "://" not in self.url:
            shutil.copytree(self.url, where, copy_function=shutil.copy2)
            return open_store(where)
        template, copy = open_store(self.url), open_store(where, options)
        for listed in template.backend.list_from(""):
            copy.backend.put(listed.name, template.backend.get(listed.name))
        return copy

    def call(self, store: Store) -> tuple[int, str]:
        """Do it in this process; return the exit code that a process would have, and the reason."""
        try:
            if self.name == "gc":
                collect(store)
            else:
                assert self.name == "put"
                put_directory(store, self.branch, Path(self.arguments[-1]))
        except Exception as error:
            return failures.cause_of(error).exit_status, failures.explain(error)
        return 0, ""

    def judge(
        self,
        store: Store,
        code: int | None,
        again: Callable[[], int],
        *,
        single_fault: bool = True,
    ) -> list[Violation]:
        """Return what does not hold after the command ended with *code*, None if it was killed.

        *again* does the same undisturbed and returns its exit code.
        """
        found: list[Violation] = []

        def expect(invariant: Invariant, holds: bool, text: str) -> None:
            if not holds:
                found.append(Violation(invariant, text))

        if code is not None:
            expect(Invariant.SURVIVED, code == 0 or not single_fault, f"exit {code}")
            expect(Invariant.ENDED, code in DOCUMENTED, f"exit {code}")
        self._judge_store(store, code, expect)
        second = again()
        expect(Invariant.AGAIN, second == 0, f"exit {second} after exit {code}")
        self._judge_store(store, None, expect)
        with _readable(expect, Invariant.ONCE):
            new, off = self._made(store)
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
        self._judge_store(store, None, expect)
        return found

    def _judge_store(
        self, store: Store, code: int | None, expect: Callable[[Invariant, bool, str], None]
    ) -> None:
        """Check what must hold at every moment; *code* is what the command just ended with."""
        store = open_store(store.url, _options.get(store.url))
        with _readable(expect, Invariant.WHOLE):
            defects = verify(store).defects
            expect(Invariant.WHOLE, not defects, f"{len(defects)} defects, {defects[:1]}")
        with _readable(expect, Invariant.KEPT):
            new, _ = self._made(store)
            for name in self.history:
                lost = _difference(contents(store, store.commit(name)), self._content(name))
                expect(Invariant.KEPT, not lost, f"{name} of before: {lost}")
            for name in new:
                lost = _difference(contents(store, store.commit(name)), self.after)
                expect(Invariant.KEPT, not lost, f"{name}: {lost}")
            kept = all(name in log(store, self.branch) for name in self.history)
            expect(Invariant.KEPT, kept, "a commit of before is not in the log any more")
            if code is None:
                return
            if self.publishes:
                is_there = "is" if new else "is not"
                text = f"exit {code}, but the commit {is_there} on its branch"
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

    def _made(self, store: Store) -> tuple[list[CommitName], list[CommitName]]:
        """Return the commits that are new in the log, and those that are in no log."""
        there = log(store, self.branch)
        new = [name for name in there if name not in self.history]
        return new, [name for name in store.commits(self.branch.repo) if name not in there]


_options: dict[str, dict[str, str]] = {}


def open_directly(url: str, options: dict[str, str] | None = None) -> Store:
    """Return the store at *url*, to be judged; remembers *options* to open it afresh."""
    if options is not None:
        _options[url] = options
    return open_store(url, options)


def collect(store: Store) -> Collected:
    """Run gc as if the grace of all that lies in the store were over."""
    return gc(store, now=time.time() + GRACE + 60)


def log(store: Store, branch: BranchName) -> list[CommitName]:
    """Return the names in the log of *branch*, the newest first; none without a branch."""
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


def files(folder: Path, content: dict[str, bytes]) -> Path:
    """Make *folder* exactly these files."""
    shutil.rmtree(folder, ignore_errors=True)
    for key, data in content.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


OLD = {"same": b"same", "small": b"old", "below/gone": b"gone"}
NEW = {"same": b"same", "small": b"new", "large": LARGE}


def a_put(url: str, folder: Path) -> Scene:
    """Return a put of a folder that has changed: a file more, one fewer, one with other bytes."""
    store = open_store(url)
    files(folder, OLD)
    first = put_directory(store, LAB, folder)
    files(folder, NEW)
    return Scene(
        name="put",
        url=url,
        branch=LAB,
        history=(first.name,),
        before=OLD,
        after=NEW,
        arguments=("put", "lab", str(folder)),
    )


def a_gc(url: str, folder: Path) -> Scene:
    """Return a gc of a store with a commit, and with the blobs and trees of one that is gone."""
    store = open_store(url)
    files(folder, OLD)
    first = put_directory(store, LAB, folder)
    files(folder, {"large": LARGE[::-1], "other": b"other"})
    put_directory(store, GONE, folder)
    for listed in list(store.backend.list_from("repos/default/gone/")):
        store.backend.delete(listed.name)
    return Scene(
        name="gc",
        url=url,
        branch=LAB,
        history=(first.name,),
        before=OLD,
        after=OLD,
        arguments=("gc", "--older-than", "0s"),
    )


def a_run(url: str, folder: Path) -> Scene:
    """Return a job that copies an object of its input and writes a large one; tried once."""
    store = open_store(url)
    files(folder / "input", OLD)
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
    return Scene(
        name="run",
        url=url,
        branch=COPY,
        history=(),
        before=None,
        after={"small": OLD["small"], "large": LARGE},
        arguments=("run", "--job", str(path)),
        commit=job_id,
    )


SCENES = {"put": a_put, "gc": a_gc, "run": a_run}


@contextmanager
def _readable(
    expect: Callable[[Invariant, bool, str], None], invariant: Invariant
) -> Iterator[None]:
    """Take it for a violation of *invariant* that something can't be read at all."""
    try:
        yield
    except Exception as error:
        expect(invariant, False, f"{type(error).__name__}: {error}")


def _difference(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Return which files differ, empty if none does."""
    keys = sorted(found.keys() | wanted.keys())
    return ", ".join(
        f"{key}: {_digest(found.get(key))} instead of {_digest(wanted.get(key))}"
        for key in keys
        if found.get(key) != wanted.get(key)
    )


def _digest(data: bytes | None) -> str:
    return "nothing" if data is None else f"{len(data)} bytes {hashlib.md5(data).hexdigest()[:8]}"
