"""Operations on objects: read, put, copy, delete, tags, attributes."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from trio.to_thread import run_sync as in_thread

from worker.buckets.bucket import Bucket
from worker.buckets.index import Decide
from worker.buckets.output import OutputBucket
from worker.errors import KeyMissing
from worker.gateway.body import receive_content, receive_document
from worker.gateway.http import Headers, Response, empty, xml
from worker.model import Checksum, Entry
from worker.s3 import attributes, canned_responses, copying, reads, xml_requests, xml_responses
from worker.s3.acl import check_acl
from worker.s3.checksums import ALGORITHMS, DEFAULT_ALGORITHM, encode
from worker.s3.conditions import (
    Conditions,
    check_copy,
    check_write,
    copy_conditions,
    delete_conditions,
    write_conditions,
)
from worker.s3.error_codes import S3Error
from worker.s3.metadata import object_metadata
from worker.s3.payload import reject_body, require_digest
from worker.s3.request import Request
from worker.s3.times import last_modified
from worker.s3.unsupported_headers import check_retention
from worker.store.blobs import check

if TYPE_CHECKING:
    from worker.gateway.application import Context

ONE_PIECE = 1 << 20
"""Bytes up to which payload is sent in one piece with the response."""
VERIFIED = 1 << 16
"""Bytes up to which an object that is read whole is verified. Beyond that, hashing would halve the
speed; clients can compare the stored checksum, and ``worker verify`` does."""


async def find_entry(context: "Context") -> Entry:
    """Return the object of a request; raises NoSuchKey, and NoSuchVersion for its version null."""
    try:
        return await context.bucket.entry(context.key)
    except KeyMissing:
        version = context.request.params.get("versionId")
        if version is None:
            raise
        raise S3Error("NoSuchVersion", Key=context.key, VersionId=version) from None


async def get_object(context: "Context") -> Response:
    """Handle GetObject and HeadObject."""
    reads.check_part(context.request)
    entry = await find_entry(context)
    found = reads.read(context.request, entry, now=time.time())
    if context.request.method == "HEAD" or found.start == found.stop:
        return Response(found.status, found.headers)
    pieces = context.bucket.payload(entry, found.start, found.stop)
    if found.stop - found.start > ONE_PIECE:
        return Response(found.status, found.headers, _stream(context, pieces))
    data = b"".join([piece async for piece in pieces])
    if len(data) == entry.size <= VERIFIED:
        check(entry.extents, data)
    context.transferred = len(data)
    return Response(found.status, found.headers, data)


async def _stream(context: "Context", pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    name, counters = context.bucket.name, context.application.counters
    async for piece in pieces:
        yield piece
        counters.add_bytes_read(name, len(piece))


async def put_object(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle PutObject: the object exists, complete, when the response is sent, and not before."""
    decide = deciding(context.request)
    metadata = object_metadata(context.request)
    if decide is not None:
        # A request that fails now need not send its body; the condition is evaluated again then.
        decide(output.find(context.key))
    content, _ = await receive_content(context, output.stage)
    output.put(context.key, content, metadata, epoch=epoch, decide=decide)
    context.transferred = content.size
    return empty(200, stored_headers(content.etag, content.checksum))


def deciding(request: Request) -> Decide | None:
    """Return the check of a write's conditions on the existing object; None without conditions."""
    if "if-match" not in request.headers and "if-none-match" not in request.headers:
        return None
    conditions = write_conditions(request.headers)
    key = request.key or ""
    return lambda existing: check_write(conditions, existing.etag if existing else None, key=key)


def stored_headers(etag: str, checksum: Checksum | None, *, with_type: bool = True) -> Headers:
    """Return the headers by which a client verifies what was stored."""
    headers = [(b"etag", b'"%s"' % etag.encode())]
    if checksum is not None:
        header = ALGORITHMS[checksum.algorithm].header
        headers.append((header.encode(), checksum.value.encode()))
        if with_type:
            headers.append((b"x-amz-checksum-type", checksum.type.encode()))
    return headers


async def copy_object(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle CopyObject: the new object shares the bytes of its source."""
    decide = deciding(context.request)
    reject_body(context.request)
    source = copying.copy_source(context.request)
    bucket, existing = await find_source(context, source)
    metadata, algorithm = copying.copied_metadata(context.request, source, existing)
    checksum = copying.derived_checksum(existing, algorithm)
    if checksum is None:
        # The only case in which the payload must be read.
        checksum = await _compute_checksum(bucket, existing, algorithm or DEFAULT_ALGORITHM)
    entry = output.copy(context.key, existing, metadata, checksum, epoch=epoch, decide=decide)
    return xml(
        xml_responses.copy_object(etag=entry.etag, modified=entry.modified, checksum=entry.checksum)
    )


async def find_source(context: "Context", source: copying.CopySource) -> tuple[Bucket, Entry]:
    """Return the bucket and entry of a copy's source, if it meets the request's conditions."""
    bucket = context.application.find(source.bucket)
    entry = await bucket.entry(source.key)
    conditions = copy_conditions(context.request.headers, now=time.time())
    check_copy(conditions, etag=entry.etag, modified=entry.modified)
    return bucket, entry


async def _compute_checksum(bucket: Bucket, entry: Entry, algorithm: str) -> Checksum:
    running = ALGORITHMS[algorithm].new()
    # Not all of it in one thread, which would wait for the threads that read: there would be none
    # left if as many copies as threads did.
    async for piece in bucket.payload(entry, 0, entry.size):
        await in_thread(running.update, piece)
    return Checksum(algorithm, encode(running.digest()))


async def delete_object(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle DeleteObject, which succeeds for a missing object unless a condition is given."""
    check_retention(context.request)
    _delete(output, context.key, delete_conditions(context.request.headers), epoch)
    return empty(204)


async def delete_objects(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle DeleteObjects: the response contains the errors of single keys."""
    check_retention(context.request)
    require_digest(context.request)
    wanted = await receive_document(context, xml_requests.parse_delete)

    def delete_all() -> list[tuple[str, str | None, S3Error | None]]:
        return [
            (each.shown_key, each.version, _try_delete(output, each, epoch))
            for each in wanted.objects
        ]

    return xml(xml_responses.delete_objects(await in_thread(delete_all), quiet=wanted.quiet))


def _try_delete(
    output: OutputBucket, each: xml_requests.ObjectToDelete, epoch: int
) -> S3Error | None:
    if each.rejection is not None:
        return each.rejection
    try:
        _delete(output, each.key, each.conditions, epoch)
    except S3Error as error:
        return error
    return None


def _delete(output: OutputBucket, key: str, conditions: Conditions, epoch: int) -> None:
    def decide(existing: Entry | None) -> None:
        check_write(conditions, existing.etag if existing else None, key=key)

    output.delete(key, epoch=epoch, decide=decide)


async def get_object_attributes(context: "Context") -> Response:
    """Handle GetObjectAttributes."""
    attributes.requested_attributes(context.request)  # S3 rejects them before a missing object.
    entry = await find_entry(context)
    body = attributes.attributes(context.request, entry)
    return xml(body, [(b"last-modified", reads.http_date(last_modified(entry.modified)))])


async def get_object_tagging(context: "Context") -> Response:
    """Handle GetObjectTagging."""
    entry = await find_entry(context)
    return xml(xml_responses.get_object_tagging(entry.tags))


async def get_object_acl(context: "Context") -> Response:
    """Handle GetObjectAcl: every object has the same ACL."""
    await find_entry(context)
    return xml(xml_responses.document(*canned_responses.DOCUMENTS["AccessControlPolicy"]))


async def put_object_acl(context: "Context", _output: OutputBucket, _epoch: int) -> Response:
    """Handle PutObjectAcl, which accepts only the ACL that every object has."""
    await receive_document(context, partial(check_acl, context.request))
    await find_entry(context)
    return empty(200)


async def restore_object(context: "Context") -> Response:
    """Handle RestoreObject, which S3 rejects for an object that is not archived, as none is."""
    await receive_document(context, bytes)
    await find_entry(context)
    raise S3Error("InvalidObjectState")


async def put_object_tagging(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle PutObjectTagging."""
    tags = await receive_document(context, xml_requests.parse_tagging)
    output.set_tags(context.key, tags, epoch=epoch)
    return empty(200)


async def delete_object_tagging(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle DeleteObjectTagging."""
    output.set_tags(context.key, {}, epoch=epoch)
    return empty(204)
