"""Builders of forms and policies."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from s3.protocol_builders import a_request

from worker.s3.post_form import Field, Form, FormDecoder
from worker.s3.request import Request

BOUNDARY = b"9431149156168"
FUTURE = "2015-12-30T12:00:00.000Z"
NOW = 1451390400.0  # 2015-12-29T12:00:00Z


def a_part(name: str, value: bytes | str, *, more: str = "", headers: str = "") -> bytes:
    """Return a part of a form without its boundary; *more* is added to the disposition."""
    content = value.encode() if isinstance(value, str) else value
    disposition = f'Content-Disposition: form-data; name="{name}"{more}'
    return f"{disposition}\r\n{headers}\r\n".encode() + content


def a_file(content: bytes = b"content", filename: str | None = "my file.txt") -> bytes:
    """Return the part of a file."""
    more = "" if filename is None else f'; filename="{filename}"'
    return a_part("file", content, more=more, headers="Content-Type: text/plain\r\n")


def a_body(*parts: bytes, boundary: bytes = BOUNDARY) -> bytes:
    """Return a form of *parts*."""
    delimited = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    return delimited + b"--%s--\r\n" % boundary


def decode(*parts: bytes, step: int | None = None) -> tuple[Form, bytes]:
    """Return the form and its file; the body is fed in pieces of *step* bytes."""
    body = a_body(*parts)
    decoder = FormDecoder(BOUNDARY)
    size = step or len(body)
    content = b"".join(
        bytes(piece)
        for start in range(0, len(body), size)
        for piece in decoder.feed(body[start : start + size])
    )
    return decoder.finish(), content


def a_form(fields: Mapping[str, str] | None = None, **more: str) -> Form:
    """Return a form with the given fields."""
    sent = {**(fields or {}), **more}
    return Form({name.lower(): Field(name, value) for name, value in sent.items()})


def a_form_request(headers: Mapping[str, str] | None = None, target: str = "/out") -> Request:
    """Return the request of a form upload."""
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return a_request("POST", target, {"Content-Type": kind, **(headers or {})})


def a_policy(*conditions: Any, expiration: Any = FUTURE, **more: Any) -> str:
    """Return a policy in Base64."""
    return encoded({"expiration": expiration, "conditions": list(conditions), **more})


def encoded(document: Any) -> str:
    """Return a document, or the text of one, in Base64."""
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.b64encode(text.encode()).decode()
