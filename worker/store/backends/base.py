"""The backend of a store: named immutable objects, and a put-if-absent that one writer wins."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from worker.errors import Conflict, DataLost, Invalid, Misconfigured, Unavailable

# A part that begins with a dot is never the name of an object. So "." and ".." cannot be said at
# all, and the local backend has room for its temporary files beside the objects.
NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254}(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254})*")


class ObjectMissing(DataLost):
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

    def __init__(
        self, doing: str, cause: str, *, errno: int | None = None, path: str | None = None
    ) -> None:
        super().__init__(f"store: {doing}: {cause}")
        self.doing = doing
        self.cause = cause
        self.errno = errno
        self.path = path
        """The file of this machine that the system refused, if it was one."""


class WriteUncertain(StoreUnavailable):
    """A put-if-absent got no answer: the object may be there, or may still appear."""


class NoPutIfAbsent(Misconfigured):
    """The store lacks the one primitive that coordinates writers."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"store: {url} cannot hold commits, which need an atomic put-if-absent: {cause}; "
            "use a file system with hard links or an object store with conditional writes "
            "(If-None-Match)"
        )
        self.url = url


class Damaged(DataLost):
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
        """Append *data*; on an error nothing of it is part of the object."""

    def close(self) -> None:
        """Complete the object: it can be read. It is durable after ``Backend.sync``."""

    def discard(self) -> None:
        """Delete what was written."""


class Backend(Protocol):
    """Named immutable objects, in a directory or an object store.

    Every method can raise StoreUnavailable, after it has tried again for as long as that can help.
    Safe to use from several threads.
    """

    url: str
    """The location, in a form that ``open_store`` takes; never with credentials in it."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end; raise ObjectMissing.

        A range that begins at or beyond the end is empty.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is an object *name*, without reading it."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name* atomically; durable when it returns. Idempotent."""

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if there is no such object, else raise AlreadyThere.

        Of any number of writers, anywhere, one succeeds. Durable when it returns or raises
        AlreadyThere. *data* must be unique to the caller (contain a random token): an object with
        the same bytes is taken for the caller's own, whose answer was lost.

        Raises WriteUncertain if it is not known whether the object was or will be stored. After any
        other StoreUnavailable it is known that it was not.
        """

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below the folder *prefix* whose names sort after *after*, in order.

        *prefix* is empty or ends in ``/``; *after* is a whole name, of an object or not.
        """
        ...

    def folders(self, prefix: str) -> list[str]:
        """Return the sorted names of the folders directly below *prefix*, without the slash.

        Costs one directory read, or one request for a thousand folders.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete the object *name*, if there is one. Idempotent."""

    def create(self, name: str) -> Sink:
        """Begin a blob that is written piece by piece, and read with ``read``.

        Raises AlreadyThere if it exists and the backend can tell.
        """
        ...

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a blob from *start* up to *stop*, fewer at its end only.

        Raises ObjectMissing.
        """
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Return when these blobs, which are closed, are durable."""

    def path(self, name: str) -> Path | None:
        """Return the file of this machine that holds the bytes of a blob, if one does.

        A file is there from the first byte that its sink wrote.
        """
        ...

    def sweep(self, before: float, /) -> int:
        """Remove what writes interrupted before the time *before* left; return the number."""
        ...
