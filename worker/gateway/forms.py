"""Form uploads: the fields of a form are received and checked, then its file is stored."""

import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutputBucket
from worker.gateway.body import INLINE, SLICE, Piece, store_content
from worker.gateway.http import Headers, RequestBody, Response, empty, xml
from worker.gateway.objects import deciding, stored_headers
from worker.s3 import post_object as posting
from worker.s3 import xml_responses
from worker.s3.checksums import sent_checksum
from worker.s3.digests import Digests
from worker.s3.payload import MAX_UPLOAD, Payload, parse_payload, require_length, too_large
from worker.s3.post_authentication import is_signed_v4, verify_form
from worker.s3.post_form import Form, FormDecoder, form_boundary
from worker.s3.post_policy import Sizes, check_policy, check_size, parse_policy
from worker.s3.request import Request
from worker.s3.signing import Credentials

if TYPE_CHECKING:
    from worker.gateway.application import Context

SMALL_SLICE = 4 << 10
"""Bytes of a form that are decoded at once, if they have many boundaries."""
MANY_BOUNDARIES = 16
"""Boundaries from which those in a slice count as many."""


@attrs.define(eq=False)
class FormUpload:
    """A form whose fields are received and permitted, and whose file follows in the body."""

    request: Request
    """The request for the object that the form describes."""
    form: Form
    _body: "_FormBody"
    _sizes: Sizes

    async def content(self) -> AsyncGenerator[Piece, None]:
        """Yield the content of the file; raises S3Error if the form is not acceptable as a whole.

        An invalid file is received to its end, since the error tells its size.
        """
        size = 0
        largest = math.inf if self._sizes.largest is None else self._sizes.largest
        async with aclosing(self._body.pieces()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size <= largest:
                    yield piece
        await self._body.finish()
        check_size(self._sizes, size)


@attrs.define(eq=False)
class _FormBody:
    """The body of a form while it is decoded."""

    _received: RequestBody
    _decoder: FormDecoder
    _delimiter: bytes
    """What precedes each part."""
    _whole: Digests | None
    """The digests of the whole body, if headers of the request have some."""
    _pieces: list[memoryview] = attrs.field(factory=list, init=False)
    """Content of the file that was received with the fields."""
    _size: int = attrs.field(default=0, init=False)
    """The number of bytes that were received."""
    _data: bytes = attrs.field(default=b"", init=False)
    """The bytes that were received last."""
    _start: int = attrs.field(default=0, init=False)
    """The position in them up to which they are decoded."""

    async def _read(self) -> bytes:
        """Return the next bytes to decode; empty at the end of the body."""
        if self._start == len(self._data):
            self._data, self._start = await self._received.read(), 0
            self._size += len(self._data)
            if self._size > MAX_UPLOAD:
                # A body without a length is limited as it arrives, also behind the file.
                raise too_large(self._size)
            if self._whole is not None:
                await _update(self._whole, self._data)
        else:
            await trio.lowlevel.checkpoint()
        # Tiny parts, and content that resembles them, take a thousand times as long to decode as
        # other content, and would keep the event loop from its other clients.
        piece = self._data[self._start :] if self._start else self._data
        for size in (SLICE, SMALL_SLICE):
            if piece.count(self._delimiter) <= MANY_BOUNDARIES:
                break
            piece = piece[:size]
        self._start += len(piece)
        return piece

    async def form(self) -> Form:
        """Receive the fields, up to the file."""
        while self._decoder.form is None:
            data = await self._read()
            if not data:
                return self._decoder.finish()
            self._pieces += self._decoder.feed(data)
        return self._decoder.form

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield the content of the file, and receive what follows it."""
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece
        while data := await self._read():
            for piece in self._decoder.feed(data):
                yield piece

    async def finish(self) -> None:
        """Check the form after its last byte."""
        self._decoder.finish()
        if self._whole is not None:
            self._whole.verify()


async def _update(digests: Digests, data: bytes) -> None:
    if len(data) <= INLINE:
        digests.update(data)
    else:
        await in_thread(digests.update, data)


async def receive_form(
    request: Request, body: RequestBody, credentials: Credentials | None, *, signed: bool
) -> FormUpload:
    """Receive the fields of a form up to its file, and check them.

    With *credentials*, the form must be signed, unless the request is (*signed*). A policy is
    checked wherever there is one.
    """
    boundary = form_boundary(request)
    require_length(request)
    payload = parse_payload(request, streaming_allowed=False)
    has_digest = (
        payload.sha256 is not None
        or "content-md5" in request.headers
        or sent_checksum(request) is not None
    )
    whole = Digests.of_request(request, payload) if has_digest else None
    received = _FormBody(body, FormDecoder(boundary), b"--" + boundary, whole)
    form = await received.form()
    now = time.time()
    described = posting.object_request(request, form)
    if credentials is not None and not signed:
        verify_form(form, credentials, now=now)
    sizes = Sizes()
    encoded = form.get("policy")
    if encoded is not None:
        sizes = check_policy(
            parse_policy(encoded),
            form,
            bucket=request.bucket or "",
            signed_v4=is_signed_v4(form),
            now=now,
        )
    return FormUpload(described, form, received, sizes)


async def post_object(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle PostObject: PutObject with the fields of a form as its headers."""
    upload = context.upload
    assert upload is not None
    request, form = upload.request, upload.form
    decide = deciding(request)
    metadata = posting.form_metadata(request, form)
    digests = Digests.of_request(request, Payload(None))
    if decide is not None:
        # As for PutObject: a request that fails now need not send its file.
        decide(output.find(context.key))
    content = await store_content(upload.content(), digests, output.stage)
    output.put(context.key, content, metadata, epoch=epoch, decide=decide)
    context.transferred = content.size
    url = posting.location(request, scheme=context.scheme)
    stored = stored_headers(content.etag, content.checksum)
    redirect = posting.redirect(request, form, etag=content.etag)
    if redirect is not None:
        return empty(303, [*stored, (b"location", redirect.encode())])
    headers: Headers = [*stored, (b"location", url.encode("latin-1"))]
    status = posting.STATUSES.get(form.get("success_action_status"), 204)
    if status == 201:
        document = xml_responses.post_object(
            output.name, context.key, etag=content.etag, location=url
        )
        return xml(document, headers, status=201)
    return empty(status, headers)
