"""The files of a datum below ``/pfs``: materialize its inputs, and collect its output."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

import attrs

from worker.directories import LINKS, Directory, real_path
from worker.errors import CommandFailed, Conflict
from worker.job.env_file import NAME as ENV_FILE
from worker.job.output_files import OutputFiles
from worker.job.plan import ResolvedInput, Selection
from worker.model import OUT, Entry, Extent
from worker.store.backends.local import Descriptor, open_object
from worker.store.blobs import FOLDER as BLOBS
from worker.store.blobs import BlobReader, Stage
from worker.store.checkout import FolderWriter, copy_verified
from worker.store.ingest import Found, Ingester, NotAFile, Problem, replaced_or
from worker.store.repository import Store
from worker.store.source import walk
from worker.supervisor.file_reader import FileReader


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
    root: Directory,
    *,
    spool: Path,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write the files of a selection, read-only, and return their number.

    They are in a new folder of *root* with the name of the input; it must not exist. An S3 input is
    an empty folder. If the store is a directory, the kernel copies the content, and shares it where
    the file system can; it is not hashed then. *check* is called before each file, and may raise to
    stop. Raises KeyNotAFile and FolderUnavailable.
    """
    folder = root.make(selection.input.spec.name)
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
        with FolderWriter(folder, copy, tree=shadows, new=True, mode=0o444) as writer:
            for entry, error in writer.write(selected()):
                if error is not None:
                    raise error
                count += not entry.key.endswith("/")
        reader.close()
    for each in folder.directories():
        os.fchmod(each.fd, 0o555)
    return count


def fingerprint(root: Directory, name: str, *, check: Callable[[], None] = lambda: None) -> bytes:
    """Return a digest that changes when anything at or below *name* in *root* does.

    It is empty if *name* is no folder, or cannot be read to its end. The kernel sets the ctime of a
    file at each change, and no system call can set it back.
    """
    digest = hashlib.sha256()

    def add(path: str, found: os.stat_result) -> None:
        fields = found.st_ino, found.st_ctime_ns, found.st_mode, found.st_size
        digest.update(repr((path, *fields)).encode())

    def below(folder: Directory, path: str) -> None:
        check()
        add(path, os.fstat(folder.fd))
        for child, mode in sorted(folder.children()):
            if isinstance(mode, OSError):
                raise mode
            if stat.S_ISDIR(mode):
                below(folder.directory(child), f"{path}/{child}")
            else:
                add(f"{path}/{child}", folder.status(child))

    try:
        below(root.directory(name), "")
    except (OSError, RecursionError):
        return b""
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
    root: Directory
    """The folder of the inputs and of ``out``, with its real path."""
    by_name: Mapping[str, ResolvedInput]
    materialized: Mapping[str, int]
    """By name: the ctime, in nanoseconds, after which a file of the input has been changed."""
    places: Mapping[Path, Path] = attrs.field(factory=dict)
    """Folders by their paths for the command, where these differ: its links contain them."""

    def follow(self, path: str) -> str:
        """Return the real path of the target of a link, resolved as the command would have."""
        return real_path(self.local(path))

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
        path = os.path.relpath(target, self.root.path)
        name, *below = path.split("/")
        if name not in self.by_name:
            return None
        try:
            return self._entries(name, below, target, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotAFile(replaced_or(target, error)) from error

    def _entries(
        self, name: str, below: list[str], target: str, key: str
    ) -> Iterator[Entry | Found | Problem]:
        """Yield what is at and below *target*: *below* in the input *name*. Raises OSError.

        The path was resolved already, so none of its parts is a link, unless it was replaced.
        """
        *folders, last = (name, *below)
        parent = self.root.descend(folders)
        if stat.S_ISDIR(parent.status(last).st_mode):
            return self._below(name, "/".join(below), parent.directory(last), f"{key}/")
        return iter([self._file(name, "/".join(below), Found(key, target, parent))])

    def _below(
        self, name: str, below: str, folder: Directory, prefix: str
    ) -> Iterator[Entry | Found | Problem]:
        for found in walk(folder, prefix):
            if isinstance(found, Problem) or found.is_link:
                yield found
            elif not found.key.endswith("/"):
                yield self._file(name, os.path.join(below, found.key[len(prefix) :]), found)

    def _file(self, name: str, path: str, found: Found) -> Entry | Found:
        """Return the entry of the input's file *path*, or *found* if the command has changed it."""
        # What is in the folder of an S3 input, the command has created.
        if found.status().st_ctime_ns > self.materialized.get(name, 0):
            return found
        resolved = self.by_name[name]
        entry = self.store.tree(resolved.commit).entry(path)
        return found if entry is None else attrs.evolve(entry, key=found.key)


def collect(
    inputs: Inputs,
    stage: Stage,
    *,
    spool: Path,
    check: Callable[[], None] = lambda: None,
    reader_of: Callable[[Directory], FileReader | None] = lambda _: None,
) -> Iterator[Entry]:
    """Store the files of ``out`` in *stage* and yield their entries; raise NotAnOutput.

    A symbolic link to a file or folder of an input becomes entries that share the input's bytes,
    except for files that the command has changed: of these, the content that it saw is stored. A
    link to any other file is stored as its content: *reader_of* returns, for the folder of the
    output, a reader that opens files as the command's user. Without one, paths have another meaning
    for the command, and such a link is an error. So are a device, a pipe, a socket, and a link to a
    secret or another file of the run in *spool*. Empty folders are dropped. The reader is closed at
    the end. *check* is called before each file and between its pieces, and may raise to stop.
    """
    try:
        out = inputs.root.directory(OUT)
    except OSError as error:
        raise NotAnOutput(".", _not_a_folder(inputs.root, error)) from error
    reader = reader_of(out)
    with (
        nullcontext() if reader is None else reader,
        Ingester(stage, BlobReader(inputs.store.backend, spool)) as ingester,
    ):
        files = OutputFiles(out.path, ingester, reader, check)
        scratch = Path(os.path.realpath(spool))
        try:
            for found in walk(out):
                check()
                yield from _entries(found, inputs, files, scratch)
        except NotAFile as error:
            raise _not_an_output(out.path, error.problem) from error


def _not_a_folder(root: Directory, error: OSError) -> str:
    """Return why ``out`` in *root* could not be opened as a folder."""
    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return error.strerror or str(error)
    is_link = False
    with suppress(OSError):
        is_link = stat.S_ISLNK(root.status(OUT).st_mode)
    found = "a symbolic link" if is_link else "no folder"
    return f"found {found}, expected the folder that the command was given"


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
        root = Path(inputs.root.path)
        is_of_run = path.is_relative_to(scratch) and not path.is_relative_to(root)
        if is_of_run or path == root / ENV_FILE:
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


def _not_an_output(out: str, problem: Problem) -> NotAnOutput:
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
    with suppress(OSError, AttributeError):
        file = Descriptor(open_object(source, BLOBS + extent.blob))
        while copied < extent.length:
            count = os.copy_file_range(
                file.fd,
                fd,
                extent.length - copied,
                offset_src=extent.offset + copied,
                offset_dst=position + copied,
            )
            if not count:
                break
            copied += count
    return copied
