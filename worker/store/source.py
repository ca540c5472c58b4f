"""The source of a check-in: the files of a folder of this machine by key, and their errors."""

import os
import stat
from collections.abc import Collection, Iterator
from operator import itemgetter

from worker.directories import LINKS, Directory, real_path
from worker.errors import Conflict, Invalid, NotFound, Unavailable, WorkerError
from worker.model import MAX_KEY
from worker.store.ingest import Found, Problem, ProblemKind, not_a_file, replaced_or
from worker.text import join_first


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


def walk(directory: Directory, prefix: str = "") -> Iterator[Found | Problem]:
    """Yield everything below *directory* lazily in the order of keys, which start with *prefix*.

    An empty folder is found as a key that ends in ``/``. Links are found as links and not followed.
    Names that are not UTF-8, keys over ``MAX_KEY``, pipes, sockets, devices and folders that
    cannot be read are problems. What is found must be opened before the next one is asked for.
    """
    try:
        children = _in_order_of_keys(directory)
    except OSError as error:
        yield Problem.of(directory.path, error)
        return
    if not children and prefix:
        yield Found(prefix, directory.path, directory)
    for name, mode in children:
        key, path = prefix + name, os.path.join(directory.path, name.removesuffix("/"))
        if fault := fault_of(key):
            yield Problem(path, f"its key is {fault}")
        elif isinstance(mode, OSError):
            yield Problem.of(path, mode)
        elif stat.S_ISDIR(mode):
            try:
                below = directory.directory(name.removesuffix("/"))
            except OSError as error:
                yield replaced_or(path, error)
            else:
                yield from walk(below, key)
        elif stat.S_ISLNK(mode):
            yield Found(key, path, directory, is_link=True)
        elif stat.S_ISREG(mode):
            yield Found(key, path, directory)
        else:
            yield Problem(path, not_a_file(mode))


def _in_order_of_keys(directory: Directory) -> list[tuple[str, int | OSError]]:
    """Return the names in a directory with their types or errors.

    The name of a folder ends in a slash, so that it sorts as the keys below it do.
    """
    return sorted(
        (
            (f"{name}/" if isinstance(mode, int) and stat.S_ISDIR(mode) else name, mode)
            for name, mode in directory.children()
        ),
        key=itemgetter(0),
    )


def files_below(directory: Directory, prefix: str) -> Iterator[Found | Problem]:
    """Yield the files below *directory*; links to files inside it are files, others problems."""
    inside = os.path.join(os.path.realpath(directory.path), "")
    for found in walk(directory, prefix):
        if isinstance(found, Found) and found.is_link:
            yield _linked(found, directory, inside)
        else:
            yield found


def _linked(link: Found, directory: Directory, inside: str) -> Found | Problem:
    """Return the file that *link* leads to, which must be in *directory*, whose path is *inside*.

    It is looked up by its path first, and then from *directory* without links: if a program has
    replaced a part of the path meanwhile, nothing outside is opened.
    """
    target = real_path(link.path)
    if fault := _fault_of_link(target, inside):
        return Problem(link.path, f"it is a link to {fault}: replace it by a copy, or remove it")
    *folders, name = target.removeprefix(inside).split("/")
    try:
        return Found(link.key, link.path, directory.descend(folders), name)
    except OSError as error:
        return replaced_or(link.path, error)


def _fault_of_link(target: str, inside: str) -> str | None:
    """Return what a link leads to that is not a file in the folder *inside*, or None."""
    if not os.path.lexists(target):
        return f"{target}, which does not exist"
    if os.path.islink(target):
        return f"{target}, which is a link in a circle, or behind {LINKS} others"
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
    return f"longer than {MAX_KEY:,} bytes" if size > MAX_KEY else None
