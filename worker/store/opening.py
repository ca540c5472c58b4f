"""From what a person wrote after ``--store`` to a store."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.errors import Misconfigured
from worker.store.backends.base import Backend
from worker.store.backends.local import LocalBackend
from worker.store.repository import Store

REMOTE = ("s3", "gs", "az", "memory")


class InvalidStore(Misconfigured):
    """No store can be opened from this text."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"store: found {found!r}, expected {expected}")


def open_store(where: str | Path, options: Mapping[str, str] | None = None) -> Store:
    """Return the store at *where*: a directory, or a URL of file, s3, gs, az or memory.

    Opening reads and makes nothing; a directory is made by the first write. *options* are those of
    obstore (``endpoint``, ``region``, ``access_key_id``, …) and win over the environment, where the
    usual variables are read (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_…``,
    ``AZURE_…``).
    ``memory://NAME`` lives and dies with the process.
    """
    return Store(open_backend(where, options))


def open_backend(where: str | Path, options: Mapping[str, str] | None = None) -> Backend:
    """Return what the store at *where* stands on."""
    text = os.fspath(where)
    scheme, separator, _ = text.partition("://")
    if not separator:
        return LocalBackend(Path(text).absolute())
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidStore(text, "file:///an/absolute/path")
        return LocalBackend(Path(unquote(parts.path)))
    if scheme in REMOTE:
        if "@" in text.partition("://")[2].partition("/")[0]:
            raise InvalidStore(
                f"{scheme}://…@…", "no credentials in the URL; put them in the environment"
            )
        # The object-store library takes time and memory to load, and a directory needs none of it.
        from worker.store.backends.remote import open_remote

        return open_remote(text, dict(options or {}))
    raise InvalidStore(text, "a directory, or a URL of file, " + ", ".join(REMOTE))
