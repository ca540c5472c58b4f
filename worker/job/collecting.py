"""Files as output: what the command left in ``/pfs/out`` becomes entries of the output commit."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from worker.errors import CommandFailed, Conflict
from worker.job.plan import ResolvedInput
from worker.model import Entry
from worker.store.folders import Found, not_a_file
from worker.store.importing import KEY_LIMIT
from worker.store.intake import Intake
from worker.store.repository import Store

LINKS = 40
"""How many links one after the other are followed, as in the kernel."""


class NotAnOutput(CommandFailed):
    """The command left something in ``/pfs/out`` that cannot be a file of a commit."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"/pfs/out/{key}: {why}")
        self.key = key


class SamePath(Conflict):
    """Two datums wrote the same path."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"/pfs/out/{key}: datum {first} wrote it, and so did datum {second}; "
            "each path of the output belongs to one datum"
        )
        self.key = key


@attrs.frozen
class Inputs:
    """The file inputs of a job as they lie below the root, for links that lead into them."""

    store: Store
    root: Path
    by_name: Mapping[str, ResolvedInput]
    shown: Path | None = None
    """The root as the command saw it, where that was another path: its links say so."""

    def follow(self, path: str) -> str:
        """Return the real path that a link means, followed as the command would have."""
        for _ in range(LINKS):
            if self.shown is None or not os.path.islink(path):
                break
            folder = self.shown / os.path.relpath(os.path.dirname(path), self.root)
            path = os.path.normpath(folder / os.readlink(path))
            if Path(path).is_relative_to(self.shown):
                path = str(self.root / Path(path).relative_to(self.shown))
        return os.path.realpath(path)

    def entries(self, target: str, key: str) -> Iterator[Entry] | None:
        """Yield what the path *target* means, renamed to *key*; None if it is in no input.

        A folder yields all below it. The entries share the bytes of the input's.
        """
        path = os.path.relpath(target, os.path.realpath(self.root))
        name, _, below = path.partition("/")
        if name not in self.by_name or not os.path.lexists(target):
            return None
        return self._entries(self.by_name[name], below, key, folder=os.path.isdir(target))

    def _entries(
        self, resolved: ResolvedInput, below: str, key: str, *, folder: bool
    ) -> Iterator[Entry]:
        tree = self.store.tree(resolved.commit)
        if not folder:
            entry = tree.entry(below)
            assert entry is not None, below
            yield attrs.evolve(entry, key=key)
            return
        # What is laid out is what the datum selected; only that may get into its output.
        prefix = f"{below}/" if below else ""
        here = self.root / resolved.name
        for entry in tree.entries(prefix=prefix):
            if not entry.key.endswith("/") and (here / entry.key).is_file():
                yield attrs.evolve(entry, key=f"{key}/{entry.key[len(prefix) :]}")


def collect(
    out: Path, inputs: Inputs, intake: Intake, *, check: Callable[[], None] = lambda: None
) -> Iterator[Entry]:
    """Yield an entry for each file below *out*; raises NotAnOutput.

    A symbolic link into an input, to a file or a folder, shares the input's bytes; any other link,
    a device, a pipe or a socket is an error. Empty folders are not kept.
    """
    for path, mode in _walk(out):
        check()
        key = _key(out, path)
        if stat.S_ISREG(mode):
            entry = intake.take(Found(key, path), None)
            yield attrs.evolve(entry, modified=time.time_ns() // 1_000_000)
        elif stat.S_ISLNK(mode):
            target = inputs.follow(path)
            found = inputs.entries(target, key)
            if found is None:
                raise NotAnOutput(
                    key, f"it is a symbolic link to {target}; links may lead into an input only"
                )
            yield from found
        else:
            raise NotAnOutput(key, not_a_file(mode))


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the path and the mode of everything below *folder* that is no folder itself."""
    todo = [os.fspath(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    yield entry.path, entry.stat(follow_symlinks=False).st_mode


def _key(out: Path, path: str) -> str:
    key = os.path.relpath(path, out)
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise NotAnOutput(ascii(key), "its name is not UTF-8") from None
    if size > KEY_LIMIT:
        raise NotAnOutput(key, f"its path is longer than {KEY_LIMIT:,} bytes")
    return key
