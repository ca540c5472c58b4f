"""The source of a check-in: the files of a folder of this machine by key, and their errors."""

import os
import stat
from collections.abc import Collection, Iterator
from operator import itemgetter
from pathlib import Path

from worker.errors import Conflict, Invalid, NotFound, Unavailable, WorkerError
from worker.store.ingest import Found, Problem, ProblemKind, not_a_file
from worker.text import join_first

KEY_LIMIT = 1024
"""The longest key in bytes, as in S3."""
REPLACED = "it was replaced while it was read"


class SourceMissing(NotFound):
    """The file or folder does not exist on this machine, or a folder denies access to it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class CannotImport(WorkerError):
    """Some paths cannot be files of a commit, so nothing was committed.

    A subclass has the meaning of the most serious problem.
    """

    remedy = ""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = join_first([f"{each.path}: {each.reason}" for each in problems], 10, "; ")
        super().__init__(f"{shown}{self.remedy}")
        self.problems = problems


class SourceInvalid(CannotImport, Invalid):
    """A path can never be a file of a commit."""


class SourceUnreadable(CannotImport, NotFound):
    """A path does not exist, or its permissions deny access."""


class SourceUnavailable(CannotImport, Unavailable):
    """The file system of a path failed."""


class SourceChanged(CannotImport, Conflict):
    """Another program has removed a file, or changed it while it was read."""

    remedy = (
        ". Nothing was committed: repeat the command when no program changes the files, or commit "
        "a copy of them"
    )


# The most serious one first: a repetition of the command meets it again.
SOURCE_ERRORS: dict[ProblemKind, type[CannotImport]] = {
    ProblemKind.INVALID: SourceInvalid,
    ProblemKind.UNREADABLE: SourceUnreadable,
    ProblemKind.UNAVAILABLE: SourceUnavailable,
    ProblemKind.CHANGED: SourceChanged,
}


def cannot_import(problems: Collection[Problem]) -> CannotImport:
    """Return the error that *problems* mean."""
    kinds = {problem.kind for problem in problems}
    error = next(error for kind, error in SOURCE_ERRORS.items() if kind in kinds)
    return error(tuple(problems))


def walk(
    folder: str | os.PathLike[str], prefix: str = "", *, in_place: bool = False
) -> Iterator[Found | Problem]:
    """Yield everything below *folder* lazily in the order of keys, which start with *prefix*.

    An empty folder is found as a key that ends in ``/``. Links are found as links and not followed.
    Names that are not UTF-8, keys over ``KEY_LIMIT``, pipes, sockets, devices and folders that
    cannot be read are problems. With *in_place*, so is a folder that is not where it was found: a
    program may have replaced it by a link. *folder* is a real path then.
    """
    folder = os.fspath(folder)
    try:
        children = _children(folder, in_place=in_place)
    except OSError as error:
        yield Problem.of(folder, error)
        return
    if children is None:
        yield Problem(folder, REPLACED, ProblemKind.CHANGED)
        return
    if not children and prefix:
        yield Found(prefix, folder)
    for name, mode in children:
        key, path = prefix + name, os.path.join(folder, name.removesuffix("/"))
        if fault := fault_of(key):
            yield Problem(path, f"its key is {fault}")
        elif isinstance(mode, OSError):
            yield Problem.of(path, mode)
        elif stat.S_ISDIR(mode):
            yield from walk(path, key, in_place=in_place)
        elif stat.S_ISLNK(mode):
            yield Found(key, path, is_link=True)
        elif stat.S_ISREG(mode):
            yield Found(key, path)
        else:
            yield Problem(path, not_a_file(mode))


def is_in_place(fd: int, path: str) -> bool:
    """Whether the open file or folder is at the real *path*, and was not opened through a link."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == path
    except OSError:
        return True  # The operating system has no such links.


def _children(folder: str, *, in_place: bool) -> list[tuple[str, int | OSError]] | None:
    """Return the names in a folder with their modes or errors; None if it is not in place.

    The name of a folder ends in a slash, so that it sorts as the keys below it do.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if in_place and not is_in_place(fd, folder):
            return None
        with os.scandir(fd) as entries:
            found = [(entry.name, _mode(entry)) for entry in entries]
    finally:
        os.close(fd)
    return sorted(
        (
            (f"{name}/" if isinstance(mode, int) and stat.S_ISDIR(mode) else name, mode)
            for name, mode in found
        ),
        key=itemgetter(0),
    )


def _mode(entry: os.DirEntry[str]) -> int | OSError:
    """Return the type of an entry as in ``st_mode``, mostly without a system call."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink():
            return stat.S_IFLNK
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        return entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return error


def files_below(directory: Path, prefix: str) -> Iterator[Found | Problem]:
    """Yield the files below *directory*; links to files inside it are files, others problems."""
    # The directory itself is allowed to be a link.
    inside = os.path.join(os.path.realpath(directory), "")
    for found in walk(directory, prefix):
        if isinstance(found, Found) and found.is_link:
            target = os.path.realpath(found.path)
            if fault := _fault_of_link(target, inside):
                yield Problem(
                    found.path, f"it is a link to {fault}: replace it by a copy, or remove it"
                )
                continue
        yield found


def _fault_of_link(target: str, inside: str) -> str | None:
    """Return what a link leads to that is not a file in the folder *inside*, or None."""
    if not os.path.lexists(target):
        return f"{target}, which does not exist"
    if os.path.islink(target):
        return f"{target}, which is a link to itself"
    if os.path.join(target, "") == inside:
        return "the folder itself; only links to files are followed"
    if not target.startswith(inside):
        return f"{target}, outside of the folder"
    if os.path.isdir(target):
        return f"the folder {target}; only links to files are followed"
    return None if os.path.isfile(target) else f"{target}, which is not a file"


def fault_of(key: str) -> str | None:
    """Return what is wrong with *key*, or None."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "not UTF-8"
    return f"longer than {KEY_LIMIT:,} bytes" if size > KEY_LIMIT else None
