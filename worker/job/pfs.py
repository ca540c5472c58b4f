"""The files of a datum below ``/pfs``: materialize its inputs, and collect its output."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

import attrs

from worker.errors import CommandFailed, Conflict
from worker.job.env_file import NAME as ENV_FILE
from worker.job.output_files import OutputFiles
from worker.job.plan import ResolvedInput, Selection
from worker.model import Entry, Extent
from worker.store.blobs import FOLDER as BLOBS
from worker.store.blobs import BlobReader, Stage
from worker.store.checkout import FolderWriter, copy_verified
from worker.store.ingest import Found, Ingester, NotAFile, Problem
from worker.store.repository import Store
from worker.store.source import walk
from worker.supervisor.file_reader import FileReader

LINKS = 40
"""Links that are followed one after the other, as in Linux."""


class NotAnOutput(CommandFailed):
    """The command left something in ``/pfs/out`` that cannot be a file of a commit."""

    def __init__(self, key: str, reason: str) -> None:
        path = "/pfs/out" if key == "." else f"/pfs/out/{key}"
        super().__init__(f"{path}: {reason}")
        self.key = key


class SamePath(Conflict):
    """Two datums wrote the same path."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"/pfs/out/{key}: datum {first} wrote it, and so did datum {second}; "
            "each path of the output must come from one datum"
        )
        self.key = key


def materialize(
    store: Store,
    selection: Selection,
    root: Path,
    *,
    spool: Path,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write the files of a selection below *root*, read-only, and return their number.

    *root* must not exist. An S3 input is an empty folder. If the store is a directory, the kernel
    copies the content, and shares it where the file system can; it is not hashed then. *check* is
    called before each file, and may raise to stop. Raises KeyNotAFile and FolderUnavailable.
    """
    root.mkdir()
    count = 0
    if not selection.input.spec.s3:
        reader, tree = BlobReader(store.backend, spool), store.tree(selection.input.commit)
        match, has_content = selection.match, not selection.input.spec.empty_files

        def selected() -> Iterator[tuple[str, Entry]]:
            for entry in tree.entries(prefix=match.prefix):
                if not match.folder and entry.key != match.prefix:
                    return
                check()
                yield entry.key, entry

        def copy(entry: Entry, fd: int) -> None:
            if has_content:
                _copy(store, reader, entry.extents, fd)

        shadows = tree if match.folder else None
        with FolderWriter(root, copy, tree=shadows, new=True, mode=0o444) as writer:
            for entry, error in writer.write(selected()):
                if error is not None:
                    raise error
                count += not entry.key.endswith("/")
        reader.close()
    for folder, _, _ in os.walk(root, topdown=False):
        os.chmod(folder, 0o555)
    return count


def fingerprint(root: Path, *, check: Callable[[], None] = lambda: None) -> bytes:
    """Return a digest that changes when anything at or below *root* does; empty if not a folder.

    The kernel sets the ctime of a file at each change, and no system call can set it back.
    """
    if root.is_symlink() or not root.is_dir():
        return b""
    digest = hashlib.sha256()

    def add(name: str, found: os.stat_result) -> None:
        fields = found.st_ino, found.st_ctime_ns, found.st_mode, found.st_size
        digest.update(repr((name, *fields)).encode())

    add("", os.lstat(root))
    folders = [str(root)]
    while folders:
        check()
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda each: each.path):
                add(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return digest.digest()


def _moved(path: str, places: Mapping[Path, Path]) -> str:
    """Return *path* with the folder of *places* that it is in, if any, replaced by its value."""
    for place, other in places.items():
        if Path(path).is_relative_to(place):
            return str(other / Path(path).relative_to(place))
    return path


@attrs.frozen
class Inputs:
    """The materialized inputs of a datum, to resolve links in the output that lead into them."""

    store: Store
    root: Path
    by_name: Mapping[str, ResolvedInput]
    materialized: Mapping[str, int]
    """By name: the ctime, in nanoseconds, after which a file of the input has been changed."""
    places: Mapping[Path, Path] = attrs.field(factory=dict)
    """Folders by their paths for the command, where these differ: its links contain them."""

    def follow(self, path: str) -> str:
        """Return the real path of the target of a link, resolved as the command would have."""
        return os.path.realpath(self.local(path))

    def local(self, path: str) -> str:
        """Return the path of this machine for a link, or for its target where they differ."""
        for _ in range(LINKS):
            if not self.places or not os.path.islink(path):
                break
            folder = self.shown(os.path.dirname(path))
            target = os.path.normpath(os.path.join(folder, os.readlink(path)))
            path = _moved(target, self.places)
        return path

    def shown(self, path: str) -> str:
        """Return the path for the command of a *path* of this machine."""
        return _moved(path, {own: place for place, own in self.places.items()})

    def entries(self, target: str, key: str) -> Iterator[Entry | Found | Problem] | None:
        """Yield what is at and below the path *target*, with keys that start with *key*.

        A file that is as it was materialized is its entry, and shares the bytes of the input. One
        that the command has changed or created is found as a file. None if *target* is not in an
        input.
        """
        path = os.path.relpath(target, os.path.realpath(self.root))
        name, _, below = path.partition("/")
        if name not in self.by_name or not os.path.lexists(target):
            return None
        if os.path.isdir(target):
            return self._below(name, below, target, f"{key}/")
        return iter([self._file(name, below, Found(key, target))])

    def _below(
        self, name: str, below: str, folder: str, prefix: str
    ) -> Iterator[Entry | Found | Problem]:
        for found in walk(folder, prefix):
            if isinstance(found, Problem) or found.is_link:
                yield found
            elif not found.key.endswith("/"):
                yield self._file(name, os.path.join(below, found.key[len(prefix) :]), found)

    def _file(self, name: str, path: str, found: Found) -> Entry | Found:
        """Return the entry of the input's file *path*, or *found* if the command has changed it."""
        # What is in the folder of an S3 input, the command has created.
        if os.stat(found.path).st_ctime_ns > self.materialized.get(name, 0):
            return found
        resolved = self.by_name[name]
        entry = self.store.tree(resolved.commit).entry(path)
        return found if entry is None else attrs.evolve(entry, key=found.key)


def collect(
    out: Path,
    inputs: Inputs,
    stage: Stage,
    *,
    spool: Path,
    check: Callable[[], None] = lambda: None,
    reader: FileReader | None = None,
) -> Iterator[Entry]:
    """Store the files below *out* in *stage* and yield their entries; raise NotAnOutput.

    A symbolic link to a file or folder of an input becomes entries that share the input's bytes,
    except for files that the command has changed: of these, the content that it saw is stored. A
    link to any other file is stored as its content, which *reader* opens as the command's user.
    Without a reader, paths have another meaning for the command, and such a link is an error. So
    are a device, a pipe, a socket, and a link to a secret or another file of the run in *spool*.
    Empty folders are dropped. *reader* is closed at the end. *check* is called before each file and
    between its pieces, and may raise to stop.
    """
    if out.is_symlink() or not out.is_dir():
        kind = "a symbolic link" if out.is_symlink() else "no folder"
        raise NotAnOutput(".", f"found {kind}, expected the folder that the command was given")
    out = Path(os.path.realpath(out))
    inputs = attrs.evolve(inputs, root=Path(os.path.realpath(inputs.root)))
    with (
        nullcontext() if reader is None else reader,
        Ingester(stage, BlobReader(inputs.store.backend, spool)) as ingester,
    ):
        files = OutputFiles(out, ingester, reader, check)
        scratch = Path(os.path.realpath(spool))
        try:
            for found in walk(out, in_place=True):
                check()
                yield from _entries(found, inputs, files, scratch)
        except NotAFile as error:
            raise _not_an_output(out, error.problem) from error


def _entries(
    found: Found | Problem, inputs: Inputs, files: OutputFiles, scratch: Path
) -> Iterator[Entry]:
    """Yield the entries of what was found in the output; raises NotAFile and NotAnOutput."""
    if isinstance(found, Problem):
        raise NotAFile(found)
    if not found.is_link:
        if not found.key.endswith("/"):
            yield files.add(found)
        return
    target = inputs.follow(found.path)
    entries = inputs.entries(target, found.key)
    if entries is None:
        path = Path(target)
        is_of_run = path.is_relative_to(scratch) and not path.is_relative_to(inputs.root)
        if is_of_run or path == inputs.root / ENV_FILE:
            reason = "it is a symbolic link to a secret, or to another file of this run"
            raise NotAnOutput(found.key, reason)
        local = inputs.local(found.path)
        yield files.add_linked(found, local, inputs.shown(local))
        return
    for each in entries:
        files.check()
        if isinstance(each, Problem):
            raise NotAnOutput(found.key, f"{each.path}: {each.reason}")
        if isinstance(each, Found) and each.is_link:
            raise NotAnOutput(each.key, f"{each.path} is a symbolic link in an input")
        yield each if isinstance(each, Entry) else files.add(each)


def _not_an_output(out: Path, problem: Problem) -> NotAnOutput:
    key = os.path.relpath(problem.path, out)
    # An unencodable name cannot be logged.
    return NotAnOutput(key if key.isprintable() else ascii(key), problem.reason)


def _copy(store: Store, reader: BlobReader, extents: tuple[Extent, ...], fd: int) -> None:
    position = 0
    for extent in extents:
        path = store.backend.path(BLOBS + extent.blob)
        copied = 0 if path is None else _copy_in_kernel(path, extent, fd, position)
        if copied < extent.length:
            rest = extent.slice(copied, extent.length - copied)
            copy_verified(reader, (rest,), fd, position + copied)
        position += extent.length


def _copy_in_kernel(source: Path, extent: Extent, fd: int, position: int) -> int:
    """Copy *extent* to *position* of *fd* and return the number of bytes that could be copied.

    Some file systems, kernels and other systems copy fewer than all, or none.
    """
    copied = 0
    with suppress(OSError, AttributeError), open(source, "rb") as file:
        while copied < extent.length:
            count = os.copy_file_range(
                file.fileno(),
                fd,
                extent.length - copied,
                offset_src=extent.offset + copied,
                offset_dst=position + copied,
            )
            if not count:
                break
            copied += count
    return copied
