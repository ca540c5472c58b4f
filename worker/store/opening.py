"""The address of a store: a directory or a URL, and the backend that it means."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.errors import Misconfigured
from worker.store.backends.local import LocalBackend
from worker.store.repository import Store

REMOTE = ("s3", "gs", "az", "memory")


class InvalidStore(Misconfigured):
    """The location of a store is not a directory or a supported URL."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"store: found {found!r}, expected {expected}")


def open_store(where: str | Path, options: Mapping[str, str] | None = None) -> Store:
    """Return the store at *where*: a directory, or a URL of file, s3, gs, az or memory.

    Nothing is read or created; the first write creates a directory. *options* are those of obstore
    (``endpoint``, ``region``, ``access_key_id``, …). They take precedence over the usual variables
    of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_…``, ``AZURE_…``). A
    store at ``memory://NAME`` belongs to the process. Raises InvalidStore.
    """
    text = os.fspath(where)
    scheme, separator, rest = text.partition("://")
    if not text:
        raise InvalidStore(
            text,
            "a directory or URL in WORKER_STORE or --store: the default is in the home directory, "
            "and HOME is not set",
        )
    if not separator:
        return Store(LocalBackend(Path(text).absolute()))
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidStore(text, "file:///an/absolute/path")
        return Store(LocalBackend(Path(unquote(parts.path))))
    if scheme not in REMOTE:
        raise InvalidStore(text, "a directory, or a URL of file, " + ", ".join(REMOTE))
    if scheme != "memory" and not rest.partition("/")[0]:
        raise InvalidStore(text, f"a bucket in the URL, such as {scheme}://bucket/prefix")
    if "@" in rest.partition("/")[0]:
        raise InvalidStore(
            f"{scheme}://…@…", "no credentials in the URL; put them in the environment"
        )
    # The object-store library takes time and memory to load, and a directory needs none of it.
    from worker.store.backends.remote import open_remote

    return Store(open_remote(text, dict(options or {})))
