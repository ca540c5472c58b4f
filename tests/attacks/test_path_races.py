"""Each path of a tree is replaced by a link before each system call that works on the tree.

The agent may run as root, and the tree may belong to another user. An audit hook of Python, which
is called before each system call that opens or changes a file, makes every race certain.
"""

import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from builders import a_commit

from worker.buckets.index import Index
from worker.directories import open_directory, remove_tree
from worker.errors import WorkerError
from worker.job.env_file import EnvFile
from worker.job.pfs import Inputs, collect, fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.job.scratch import LOCK, PREFIX, claimed_root, scratch_folder
from worker.job.secrets import SecretFile, write_secrets
from worker.model import BranchName, Entry, Repo
from worker.spec.pipeline import PfsInput
from worker.store.blobs import BlobReader, Stage
from worker.store.checkin import put_directory
from worker.store.checkout import get_directory
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.supervisor import mountpoints
from worker.supervisor.mountpoints import MountPoints

SECRET = b"of root"
PUT = BranchName(Repo("default", "put"), "master")
OWNER = (os.geteuid(), os.getegid())


class Attacker:
    """Replaces a path by a link, once, before the system call with a given number."""

    def __init__(self) -> None:
        self.calls = 0
        self._strike: Callable[[], None] | None = None
        self._at, self._trusted = 0, ""
        self._lock = threading.Lock()
        sys.addaudithook(self._before)

    @contextmanager
    def before(self, call: int, strike: Callable[[], None], trusted: Path) -> Iterator[None]:
        """Call *strike* before the system call number *call* of the block.

        Calls with paths below *trusted* are not counted.
        """
        self.calls, self._at, self._strike, self._trusted = 0, call, strike, f"{trusted}/"
        try:
            yield
        finally:
            self._strike = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Do nothing in the block, which is the work of a command."""
        strike, self._strike = self._strike, None
        try:
            yield
        finally:
            self._strike = strike

    def _before(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._strike is None or not event.startswith(("open", "os.", "shutil.")):
            return
        if any(
            isinstance(each, str | bytes) and os.fsdecode(each).startswith(self._trusted)
            for each in arguments
        ):
            return
        with self._lock:
            self.calls += 1
            if self.calls == self._at and (strike := self._strike) is not None:
                self._strike = None
                strike()


ATTACKER = Attacker()


class Place:
    """A tree of another user, and a folder of root with a secret file, outside of it."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.theirs = folder / "theirs"
        self.outside = folder / "outside"
        self.stored = list[bytes]()
        """The contents that the operation has read from the tree."""
        (self.outside / "sub").mkdir(parents=True)
        for name in ("file", "sub/file"):
            (self.outside / name).write_bytes(SECRET)
            (self.outside / name).chmod(0o600)
        self.outside.chmod(0o700)
        self.theirs.mkdir()

    def replace(self, path: str) -> None:
        """Replace *path* of the tree, which need not exist, by a link to its like outside."""
        is_folder = (self.theirs / path).is_dir()
        with suppress(OSError):
            os.rename(self.theirs / path, self.folder / "moved")
        with suppress(OSError):
            os.symlink(self.outside / ("sub" if is_folder else "file"), self.theirs / path)

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return what is outside, with modes, owners and contents."""
        return {
            str(path): (
                *(status := path.lstat())[:1],
                status.st_uid,
                status.st_gid,
                path.read_bytes() if stat.S_ISREG(status.st_mode) else b"",
            )
            for path in (self.outside, *self.outside.rglob("*"))
        }

    def read(self, entries: Iterator[Entry] | list[Entry]) -> None:
        reader = BlobReader(self.store.backend)
        self.stored += [b"".join(reader.pieces(entry.extents)) for entry in entries]


def _write(folder: Path) -> None:
    (folder / "sub" / "below").mkdir(parents=True)
    for name in ("a", "sub/file", "sub/below/file"):
        # Not through a link that the attacker has planted.
        with open(folder / name, "xb") as file:
            file.write(b"own")
    (folder / "link").symlink_to("sub/file")


def _stage(place: Place) -> Stage:
    return Stage(place.store.backend, "s", writer="w", scratch=place.folder)


def _collect(place: Place) -> Callable[[], None]:
    _write(place.theirs / "out")
    (place.theirs / "out" / "link").unlink()
    inputs = Inputs(place.store, open_directory(place.theirs), {}, {})

    def run() -> None:
        place.read(collect(inputs, _stage(place), spool=place.folder / "none"))

    return run


def _collect_links(place: Place) -> Callable[[], None]:
    """The output links to files of an input that the command has changed."""
    resolved = resolve(place.store, PfsInput("in", "default", "given", "master", None, "/", False))
    _write(place.theirs / "in")
    (place.theirs / "out").mkdir()
    for name in ("a", "sub"):
        (place.theirs / "out" / name).symlink_to(f"../in/{name}")
    inputs = Inputs(place.store, open_directory(place.theirs), {"in": resolved}, {})

    def run() -> None:
        place.read(collect(inputs, _stage(place), spool=place.folder / "none"))

    return run


def _put(place: Place) -> Callable[[], None]:
    _write(place.theirs)

    def run() -> None:
        commit = put_directory(place.store, PUT, place.theirs)
        place.read(list(place.store.tree(commit).entries()))

    return run


def _put_again(place: Place) -> Callable[[], None]:
    """Unchanged files are compared, or not even opened."""
    _write(place.theirs)
    put_directory(place.store, PUT, place.theirs)

    def run() -> None:
        commit = put_directory(place.store, PUT, place.theirs, trust_mtime=True)
        place.read(list(place.store.tree(commit).entries()))

    return run


def _materialize(place: Place) -> Callable[[], None]:
    spec = PfsInput("in", "default", "given", "master", None, glob="/", s3=False)
    selection = choices(place.store, resolve(place.store, spec))[0]
    root = open_directory(place.theirs)
    return lambda: (
        materialize(place.store, selection, root, spool=place.folder),
        fingerprint(root, "in"),
        None,
    )[-1]


def _get(place: Place) -> Callable[[], None]:
    commit = place.store.resolve("given")
    (place.theirs / "sub").mkdir()

    def run() -> None:
        get_directory(place.store, commit, place.theirs)

    return run


def _secrets(place: Place) -> Callable[[], None]:
    files = [SecretFile("/sub", "file", b"new"), SecretFile("/sub/below", "file", b"new")]
    return lambda: write_secrets(files, open_directory(place.theirs), owner=OWNER)


def _env_file(place: Place) -> Callable[[], None]:
    file = EnvFile(open_directory(place.theirs), OWNER)
    (place.theirs / ".env").mkdir()
    return lambda: (file.write({"A": "new"}), None)[-1]


def _empty_output(place: Place) -> Callable[[], None]:
    _write(place.theirs / "out")
    root = open_directory(place.theirs)

    def run() -> None:
        root.remove("out")
        made = root.make("out", 0o755)
        os.fchown(made.fd, *OWNER)

    return run


def _remove(place: Place) -> Callable[[], None]:
    _write(place.theirs / "tree")
    for path in (place.theirs / "tree").rglob("*"):
        if path.is_dir():
            path.chmod(0o500)
    return lambda: remove_tree(place.theirs / "tree")


def _claim(place: Place) -> Callable[[], None]:
    def run() -> None:
        with claimed_root(place.theirs / "root") as root, ATTACKER.waiting():
            _write(root)

    return run


def _scratch(place: Place) -> Callable[[], None]:
    _write(place.theirs / f"{PREFIX}old")
    (place.theirs / f"{PREFIX}old" / LOCK).touch()

    def run() -> None:
        with scratch_folder(place.theirs) as folder, open_index(folder), ATTACKER.waiting():
            _write(folder / "pfs")

    return run


def _mount_point(place: Place) -> Callable[[], None]:
    (place.theirs / "sub").mkdir()

    def run() -> None:
        points = MountPoints()
        try:
            points.acquire(str(place.theirs / "sub" / "file"))
        finally:
            points.release()

    return run


@contextmanager
def open_index(folder: Path) -> Iterator[None]:
    index = Index.create(folder / "index.sqlite")
    try:
        yield
    finally:
        index.close()


OPERATIONS: dict[str, tuple[Callable[[Place], Callable[[], None]], tuple[str, ...]]] = {
    "collect": (_collect, ("out", "out/a", "out/sub", "out/sub/below", "out/sub/file")),
    "collect links": (_collect_links, ("in", "in/a", "in/sub", "in/sub/below", "in/sub/file")),
    "put": (_put, ("a", "link", "sub", "sub/below", "sub/file", "sub/below/file")),
    "put again": (_put_again, ("a", "sub")),
    "materialize": (_materialize, ("in", "in/a", "in/sub", "in/sub/below", "in/sub/file")),
    "get": (_get, ("a", "sub", "sub/below", "sub/file")),
    "secrets": (_secrets, ("sub", "sub/file", "sub/below", "sub/below/file")),
    "env file": (_env_file, (".env",)),
    "empty output": (_empty_output, ("out", "out/sub", "out/sub/below")),
    "remove": (_remove, ("tree", "tree/sub", "tree/sub/below")),
    "claim": (_claim, ("root/sub", "root/sub/below", "root/a")),
    "mount point": (_mount_point, ("sub", "sub/file")),
    "abandoned scratch": (_scratch, (f"{PREFIX}old", f"{PREFIX}old/sub", f"{PREFIX}old/{LOCK}")),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a commit."""
    path = tmp_path_factory.mktemp("filled") / "store"
    store = open_store(path)
    a_commit(store, {"a": b"1", "sub/file": b"2", "sub/below/file": b"3"}, repo="given")
    return path


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("operation", "path"),
    [
        pytest.param(name, path, id=f"{name}: {path}")
        for name, (_, paths) in OPERATIONS.items()
        for path in paths
    ],
)
def test_nothing_outside_is_read_or_changed(tmp_path, filled, monkeypatch, operation, path):
    """Whichever path becomes a link, and whenever."""
    monkeypatch.setattr(mountpoints, "INTERVAL", 0)
    prepare = OPERATIONS[operation][0]
    struck, call = 0, 0
    while True:
        call += 1
        folder = tmp_path / "place"
        folder.mkdir()
        shutil.copytree(filled, folder / "store")
        place = Place(folder, open_store(folder / "store"))
        run = prepare(place)
        before = place.state()
        with ATTACKER.before(call, partial(place.replace, path), folder / "store"):
            # What cannot be done is an error with a class; it is not the subject here.
            with suppress(WorkerError, OSError):
                run()
            calls = ATTACKER.calls
        assert before == place.state(), f"changed by a link at call {call} of {calls}"
        assert SECRET not in place.stored, f"read by a link at call {call} of {calls}"
        shutil.rmtree(folder)
        if calls < call:
            break
        struck += 1
    assert struck > 1
