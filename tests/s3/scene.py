"""Sets a scene for the protocol's tests in a word: a request, an object, a refusal."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from worker.model import Checksum
from worker.s3.error_codes import S3Error
from worker.s3.request import Request, parse

VECTORS = Path(__file__).parent / "vectors"
BUCKETS = ("labresults", "out")


def vectors(name: str) -> dict[str, Any]:
    """Return a file of published test vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def a_request(
    method: str = "GET",
    target: str = "/out/key",
    headers: Mapping[str, str] | None = None,
    *,
    buckets: tuple[str, ...] = BUCKETS,
) -> Request:
    """Return a parsed request for a raw target, with a Host unless one is given."""
    path, _, query = target.partition("?")
    given = {name.lower(): value for name, value in (headers or {}).items()}
    sent = {"host": "localhost:9000", **given}
    return parse(
        method,
        path.encode(),
        query.encode(),
        [(name.encode(), value.encode()) for name, value in sent.items()],
        buckets=buckets,
    )


@attrs.frozen
class APart:
    """A part as the protocol sees it."""

    number: int
    size: int
    etag: str = "d41d8cd98f00b204e9800998ecf8427e"
    modified: int = 0
    checksum: Checksum | None = None


@attrs.frozen
class AnObject:
    """An object as the protocol sees it."""

    key: str = "key"
    size: int = 10
    etag: str = "d41d8cd98f00b204e9800998ecf8427e"
    modified: int = 1_700_000_000_000
    headers: Mapping[str, str] = attrs.field(factory=lambda: {"content-type": "text/plain"})
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    checksum: Checksum | None = None
    parts: tuple[APart, ...] = ()


@attrs.frozen
class AnUpload:
    """A multipart upload as the protocol sees it."""

    key: str = "key"
    id: str = "upload"
    initiated: int = 0
    algorithm: str | None = None
    checksum_type: str | None = None


@contextmanager
def refused(code: str) -> Iterator[Callable[[], S3Error]]:
    """Expect an S3 error of that code; the function yielded returns it afterwards."""
    with pytest.raises(S3Error) as caught:
        yield lambda: caught.value

    assert code == caught.value.code
