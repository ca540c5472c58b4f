"""What a store stands on: named runs of bytes, and a put that succeeds for one of many."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from worker.errors import Conflict, Invalid, NotFound, Unavailable

# A part that begins with a dot is never the name of an object. So "." and ".." cannot be said at
# all, and the local backend has room for its temporary files beside the objects.
NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254}(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254})*")


class ObjectMissing(NotFound):
    """The store has no object of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: the store has no such object")
        self.name = name


class AlreadyThere(Conflict):
    """The object that had to be new is there already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: the store has this object already, and it had to be new")
        self.name = name


class StoreUnavailable(Unavailable):
    """The disk or the service under the store refused; *cause* is its own word for why."""

    def __init__(self, doing: str, cause: str, *, errno: int | None = None) -> None:
        super().__init__(f"store: {doing}: {cause}")
        self.doing = doing
        self.cause = cause
        self.errno = errno


class Damaged(Unavailable):
    """The store holds other bytes than those that were stored."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {found}; `worker verify` lists everything that is damaged")
        self.name = name
        self.found = found


class IllegalName(Invalid):
    """No object can have this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"object name: found {name!r}, expected parts of 1 to 255 of A–Z, a–z, 0–9, "
            "_, -, @ and . (not first), joined by /"
        )
        self.name = name


def checked(name: str) -> str:
    """Return *name* if an object can be called so, else refuse it.

    A legal name, joined to a directory, is a path below that directory.
    """
    if not NAME.fullmatch(name):
        raise IllegalName(name)
    return name


@attrs.frozen
class Listed:
    """An object as a listing shows it."""

    name: str
    size: int
    modified: float
    """Seconds since 1970-01-01 UTC."""


class Sink(Protocol):
    """A new object while it is being written. One thread at a time."""

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; after an error the object is as long as before."""

    def close(self) -> None:
        """End the object: from now on it can be read. It is durable after ``Backend.sync``."""

    def discard(self) -> None:
        """Leave no object behind."""


class Backend(Protocol):
    """Named immutable objects, in a directory or an object store.

    Every method can raise StoreUnavailable. Safe to use from several threads.
    """

    url: str
    """Where it is, in a form that ``open_store`` takes; never with credentials in it."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end; raise ObjectMissing.

        A range that begins at or beyond the end is empty.
        """
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, whole or not at all; durable when it returns."""

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if nothing is there yet, else raise AlreadyThere.

        Of any number of writers, anywhere, one succeeds. Durable when it returns or raises
        AlreadyThere.
        """

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below the folder *prefix* whose names sort after *after*, in order.

        *prefix* is empty or ends in ``/``; *after* is a whole name, of an object or not.
        """
        ...

    def delete(self, name: str) -> None:
        """See to it that there is no object *name*; that there was none is fine."""

    def create(self, name: str) -> Sink:
        """Begin a new object that is written piece by piece; raise AlreadyThere if it exists."""
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Return when these objects, made by ``create`` and closed, are durable."""

    def path(self, name: str) -> Path | None:
        """Return where the object's bytes lie as a file of this machine, if they do.

        A file is there from the first byte that its sink wrote.
        """
        ...

    def sweep(self, before: float, /) -> int:
        """Remove what writes interrupted before the time *before* left; return how many."""
        ...
