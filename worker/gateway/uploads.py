"""Multipart uploads: created, filled part by part, and completed without moving payload."""

import secrets
import time
from typing import TYPE_CHECKING

from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutputBucket
from worker.errors import KeyChanged, UploadMissing
from worker.gateway.body import receive_content, receive_document
from worker.gateway.http import Response, empty, xml
from worker.gateway.objects import deciding, find_source, stored_headers
from worker.model import StoredPart, Upload
from worker.s3 import copying, multipart, upload_listing, xml_requests, xml_responses
from worker.s3.checksums import DEFAULT_ALGORITHM, FULL_OBJECT, upload_checksum
from worker.s3.digests import Digests
from worker.s3.error_codes import S3Error
from worker.s3.metadata import object_metadata
from worker.s3.payload import reject_body
from worker.s3.unsupported_headers import check_part_supported

if TYPE_CHECKING:
    from worker.gateway.application import Context


async def create(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle CreateMultipartUpload."""
    metadata = object_metadata(context.request)
    algorithm, checksum_type = upload_checksum(context.request)
    upload = output.create_upload(
        context.key,
        multipart.upload_id(int(time.time() * 1000), secrets.token_bytes(18)),
        metadata,
        algorithm=algorithm,
        checksum_type=checksum_type,
        epoch=epoch,
    )
    headers = []
    if algorithm:
        headers.append((b"x-amz-checksum-algorithm", algorithm.encode()))
    if checksum_type:
        headers.append((b"x-amz-checksum-type", checksum_type.encode()))
    return xml(
        xml_responses.create_multipart_upload(context.bucket.name, context.key, upload.id), headers
    )


async def upload_part(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle UploadPart: the part replaces an earlier one of its number."""
    upload = output.upload(context.key, context.request.params["uploadId"])
    number = multipart.part_number(context.request)
    check_part_supported(context.request)
    content, digests = await receive_content(context, output.stage, upload=upload)
    part = output.put_part(context.key, upload.id, number, content, epoch=epoch)
    context.transferred = part.size
    return empty(200, stored_headers(part.etag, digests.response_checksum, with_type=False))


async def upload_part_copy(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle UploadPartCopy: the part shares the bytes of its source, read only to hash them."""
    request = context.request
    upload = output.upload(context.key, request.params["uploadId"])
    number = multipart.part_number(request)
    check_part_supported(request)
    reject_body(request)
    bucket, source = await find_source(context, copying.copy_source(request))
    span = copying.copy_source_range(request.headers.get("x-amz-copy-source-range"), source.size)
    algorithm = upload.algorithm or DEFAULT_ALGORITHM
    whole = span.length == source.size and not source.parts
    known = source.checksum
    # The composite checksum of a copied multipart object is not that of its bytes.
    if whole and known and (known.algorithm, known.type) == (algorithm, FULL_OBJECT):
        etag, checksum = source.etag, known
    else:
        digests = Digests(algorithm=algorithm)
        async for piece in bucket.payload(source, span.start, span.stop):
            await in_thread(digests.update, piece)
        etag, checksum = digests.etag, digests.checksum
    part = output.copy_part(
        context.key,
        upload.id,
        number,
        source,
        start=span.start,
        stop=span.stop,
        etag=etag,
        checksum=checksum,
        epoch=epoch,
    )
    # The parts of an upload without an algorithm have a checksum that only the gateway uses.
    shown = part.checksum if upload.algorithm else None
    return xml(
        xml_responses.upload_part_copy(etag=part.etag, modified=part.modified, checksum=shown)
    )


async def complete(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle CompleteMultipartUpload, which is idempotent."""
    request = context.request
    decide = deciding(request)
    output.check_upload(context.key, request.params["uploadId"])
    listed = await receive_document(context, xml_requests.parse_complete)

    def assemble(upload: Upload, parts: list[StoredPart]) -> multipart.Completion:
        return multipart.complete(listed, {part.number: part for part in parts}, upload, request)

    # In a thread: ten thousand parts would keep the event loop from its other clients.
    try:
        entry = await in_thread(
            lambda: output.complete_upload(
                context.key,
                request.params["uploadId"],
                assemble,
                epoch=epoch,
                decide=decide,
            )
        )
    except KeyChanged as error:
        condition = "If-Match" if "if-match" in request.headers else "If-None-Match"
        raise S3Error("ConditionalRequestConflict", Condition=condition, Key=context.key) from error
    if not multipart.is_completed_by(listed, entry.etag):
        # The upload was completed before, with other parts.
        raise UploadMissing(request.params["uploadId"])
    location = f"{context.scheme}://{request.host}{request.path}"
    return xml(
        xml_responses.complete_multipart_upload(
            output.name, entry.key, etag=entry.etag, checksum=entry.checksum, location=location
        )
    )


async def abort(context: "Context", output: OutputBucket, epoch: int) -> Response:
    """Handle AbortMultipartUpload.

    Raises NotImplemented for the condition that S3 has for directory buckets only.
    """
    condition = "x-amz-if-match-initiated-time"
    if condition in context.request.headers:
        raise S3Error("NotImplemented", Header=condition)
    upload_id = context.request.params["uploadId"]
    output.abort_upload(context.key, upload_id, epoch=epoch)
    return empty(204)


async def list_uploads(context: "Context") -> Response:
    """Handle ListMultipartUploads; an input bucket has no uploads."""
    query, bucket = upload_listing.parse_uploads(context.request), context.bucket

    def make() -> bytes:
        # All uploads are read, not those after the markers: there are few.
        uploads = tuple(bucket.uploads()) if isinstance(bucket, OutputBucket) else ()
        page = upload_listing.uploads_page(uploads, query)
        return xml_responses.list_multipart_uploads(bucket.name, query, page)

    return xml(await in_thread(make))


async def list_parts(context: "Context") -> Response:
    """Handle ListParts; an input bucket has no uploads."""
    query, bucket = upload_listing.parse_parts(context.request), context.bucket
    upload_id = context.request.params["uploadId"]
    if not isinstance(bucket, OutputBucket):
        raise UploadMissing(upload_id)
    upload = bucket.upload(context.key, upload_id)
    page = upload_listing.parts_page(bucket.parts(context.key, upload.id), query)
    return xml(xml_responses.list_parts(bucket.name, upload, query, page))
