"""The protocol of backends: named immutable objects, with an atomic put-if-absent."""

import errno
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from worker.errors import (
    Conflict,
    DataLost,
    Denied,
    Invalid,
    Misconfigured,
    NotFound,
    Unavailable,
)

# No part of a name starts with a dot. This excludes "." and "..", and reserves names for the
# temporary files of the local backend.
NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254}(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]{0,254})*")


class ObjectMissing(NotFound):
    """The store has no object of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: the store has no such object")
        self.name = name


class AlreadyThere(Conflict):
    """A put-if-absent found an existing object."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: found an object of this name in the store, expected none")
        self.name = name


class StoreUnavailable(Unavailable):
    """The disk or the service of the store refused a request; *cause* is its own message."""

    def __init__(
        self, doing: str, cause: str, *, errno: int | None = None, path: str | None = None
    ) -> None:
        super().__init__(f"store: {doing}: {cause}")
        self.doing = doing
        self.cause = cause
        self.errno = errno
        self.path = path
        """The local file that the system refused, if any."""


NOT_PERMITTED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Error numbers of a file that may not be read or written."""


class StoreDenied(StoreUnavailable, Denied):
    """The store does not permit the request; a retry fails again."""

    def __init__(
        self, doing: str, cause: str, *, errno: int | None = None, path: str | None = None
    ) -> None:
        remedy = "the worker needs permission to read and write the store"
        super().__init__(doing, f"{cause}; {remedy}", errno=errno, path=path)


class BucketMissing(StoreUnavailable, Misconfigured):
    """The bucket in the URL of the store does not exist; a retry fails again."""

    def __init__(self, doing: str, url: str) -> None:
        super().__init__(
            doing, f"the bucket of {url} does not exist; create it, or name another store"
        )
        self.url = url


class WriteUncertain(StoreUnavailable):
    """A put-if-absent got no response: the object may exist, or may still appear."""


class NoPutIfAbsent(Misconfigured):
    """The store has no put-if-absent, the one primitive that coordinates writers."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"store: {url} cannot hold commits, which need an atomic put-if-absent: {cause}; "
            "use a file system with hard links or an object store with conditional writes "
            "(If-None-Match)"
        )
        self.url = url


class Damaged(DataLost):
    """The store has other bytes than were stored."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {found}; `worker verify` lists all damage")
        self.name = name
        self.found = found


OnDamage = Callable[[Damaged], None]
"""Called with the damage of one name of a listing, which then goes on."""


def fail(damage: Damaged) -> None:
    """Raise *damage*, which ends the listing."""
    raise damage


def skip(_damage: Damaged) -> None:
    """Skip the name."""


class UnexpectedFile(Damaged):
    """There is a link, a folder, a pipe or a device where a file or a folder of the store is."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(name, f"found {found}, which no store contains")


class IllegalName(Invalid):
    """No object can have this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"object name: found {name!r}, expected parts of 1 to 255 of A–Z, a–z, 0–9, "
            "_, -, @ and . (not first), joined by /"
        )
        self.name = name


def checked(name: str) -> str:
    """Return *name* if it is legal, else raise IllegalName.

    A legal name, appended to a directory, is a path below that directory.
    """
    if not NAME.fullmatch(name):
        raise IllegalName(name)
    return name


def checked_prefix(prefix: str) -> str:
    """Return *prefix* if it is empty, or a legal name and a slash; else raise IllegalName."""
    if prefix and not (prefix.endswith("/") and NAME.fullmatch(prefix[:-1])):
        raise IllegalName(prefix)
    return prefix


def is_legal(name: str) -> bool:
    """Whether an object can have this name; a listing can have others that no store wrote."""
    return NAME.fullmatch(name) is not None


@attrs.frozen
class Listed:
    """An object in a listing."""

    name: str
    size: int
    modified: float
    """Seconds since 1970-01-01 UTC."""


def read_whole(backend: "Backend", name: str, limit: int) -> bytes:
    """Return an object of at most *limit* bytes; raise ObjectMissing, and Damaged if it is larger.

    Memory is bounded, whatever the size of the object.
    """
    data = backend.get(name, 0, limit + 1)
    if len(data) > limit:
        raise Damaged(name, f"it is larger than {limit:,} bytes, the most that an object has")
    return data


class Sink(Protocol):
    """A new object that is being written. For one thread at a time."""

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; after an error nothing of it is part of the object."""

    def close(self) -> None:
        """Complete the object, which can then be read. ``Backend.sync`` makes it durable."""

    def discard(self) -> None:
        """Delete what was written."""


class Backend(Protocol):
    """Named immutable objects, in a directory or an object store.

    Every method can raise StoreUnavailable, after retries where these can help. Safe to use from
    several threads.
    """

    url: str
    """The location for ``open_store``, without credentials."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end; raise ObjectMissing.

        A range that starts at or beyond the end is empty.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is an object *name*, without reading it."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name* atomically; durable when it returns. Idempotent."""

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if there is no such object, else raise AlreadyThere.

        Of any number of writers on any machines one succeeds. The object is durable when the method
        returns or raises AlreadyThere. *data* must be unique to the caller (contain a random
        token): an object with the same bytes is the caller's own, whose response was lost.

        Raises WriteUncertain if it is unknown whether the object was or will be stored. After any
        other StoreUnavailable it was not.
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
        """Delete the object *name* if it exists. Idempotent."""

    def create(self, name: str) -> Sink:
        """Start a blob, which is written piece by piece and read with ``read``.

        Raises AlreadyThere if it exists and the backend can tell.
        """
        ...

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a blob from *start* up to *stop*, fewer only at its end.

        Raises ObjectMissing.
        """
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Make these closed blobs durable."""

    def path(self, name: str) -> Path | None:
        """Return the local file with the bytes of a blob; None if the backend has no such files.

        The file exists from the first byte that its sink writes.
        """
        ...

    def sweep(self, before: float, /) -> int:
        """Remove what interrupted writes left before the time *before*; return the number."""
        ...
