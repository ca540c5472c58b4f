"""Builders of the protocol's tests: requests, objects, uploads, and expected errors."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.session import Session

from worker.model import Entry, StoredPart, Upload
from worker.s3.error_codes import S3Error
from worker.s3.request import Request, parse

VECTORS = Path(__file__).parent / "vectors"
BUCKETS = ("labresults", "out")
MODEL = ServiceModel(Session().get_service_data("s3"))


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
    """Return a parsed request for a raw target; its default Host is localhost."""
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


EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def a_part(number: int, size: int, etag: str = EMPTY_MD5, **fields: Any) -> StoredPart:
    """Return a part of an upload in progress, without content."""
    return StoredPart(number, size, etag, **{"modified": 0, "extents": (), **fields})


def an_object(**fields: Any) -> Entry:
    """Return the entry of an object, without content."""
    defaults = {
        "key": "key",
        "size": 10,
        "etag": EMPTY_MD5,
        "modified": 1_700_000_000_000,
        "extents": (),
        "headers": {"content-type": "text/plain"},
    }
    return Entry(**{**defaults, **fields})


def an_upload(key: str = "key", id: str = "upload", **fields: Any) -> Upload:  # noqa: A002 - as in Upload
    """Return an upload in progress."""
    return Upload(id=id, key=key, **{"initiated": 0, **fields})


@contextmanager
def raises_s3_error(code: str) -> Iterator[Callable[[], S3Error]]:
    """Expect an S3Error with *code*; the yielded function returns it afterwards."""
    with pytest.raises(S3Error) as caught:
        yield lambda: caught.value

    assert code == caught.value.code


def parsed(operation: str, body: bytes, *, status: int = 200) -> Any:
    """Return the document of a response as botocore parses it."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"status_code": status, "headers": {}, "body": body}
    return create_parser("rest-xml").parse(response, shape)
