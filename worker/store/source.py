"""The source of a check-in: the files of a folder of this machine by key, and their errors."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from worker.errors import Conflict, Invalid, NotFound, Unavailable, WorkerError
from worker.store.ingest import Found, Problem, ProblemKind, not_a_file

KEY_LIMIT = 1024
"""The longest key in bytes, as in S3."""


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
        shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:10])
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        super().__init__(f"{shown}{more}{self.remedy}")
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


def walk(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[Found | Problem]:
    """Yield everything below *folder* lazily in the order of keys, which start with *prefix*.

    An empty folder is found as a key that ends in ``/``. Links are found as links and not followed.
    Names that are not UTF-8, keys over ``KEY_LIMIT``, pipes, sockets, devices and folders that
    cannot be read are problems.
    """
    try:
        with os.scandir(folder) as entries:
            # The name of a folder with a slash sorts as the keys below it do.
            children = sorted(
                (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
            )
    except OSError as error:
        yield Problem.of(os.fspath(folder), error)
        return
    if not children and prefix:
        yield Found(prefix, os.fspath(folder))
    for name, entry in children:
        key = prefix + name
        if fault := fault_of(key):
            yield Problem(entry.path, f"its key is {fault}")
        elif name.endswith("/"):
            yield from walk(entry.path, key)
        elif entry.is_symlink():
            yield Found(key, entry.path, is_link=True)
        elif entry.is_file(follow_symlinks=False):
            yield Found(key, entry.path)
        else:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError as error:
                yield Problem.of(entry.path, error)
            else:
                yield Problem(entry.path, not_a_file(mode))


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
