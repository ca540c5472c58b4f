"""Multipart uploads: begun, filled part by part, and made one object without a byte moved."""

import secrets

from trio.to_thread import run_sync as in_thread

from worker.buckets.index import now_ms
from worker.buckets.uploads import StoredPart, Upload
from worker.gateway import body
from worker.gateway.call import Call, document, empty, kept, tags_of
from worker.gateway.exchange import Answer
from worker.gateway.objects import deciding, modified_now, source_of
from worker.model import Checksum, Entry, Part, cut
from worker.s3 import bodies, copying, documents, listing, metadata, multipart, ranges
from worker.s3.checksums import DEFAULT_ALGORITHM, upload_checksum
from worker.s3.conditions import write_conditions
from worker.s3.digests import Digests
from worker.s3.payload import payload


async def create(call: Call) -> Answer:
    """Answer CreateMultipartUpload."""
    described = metadata.described(call.request)
    algorithm, checksum_type = upload_checksum(call.request)
    upload = Upload(
        id=multipart.upload_id(now_ms(), secrets.token_bytes(18)),
        key=call.key,
        initiated=now_ms(),
        headers=dict(described.headers),
        metadata=dict(described.metadata),
        tags=dict(described.tags),
        algorithm=algorithm,
        checksum_type=checksum_type,
    )
    call.out.index.uploads.begin(upload, epoch=call.epoch)
    headers = {}
    if algorithm:
        headers["x-amz-checksum-algorithm"] = algorithm
    if checksum_type:
        headers["x-amz-checksum-type"] = checksum_type
    return document(documents.initiated(call.bucket.name, call.key, upload.id), headers)


async def upload_part(call: Call) -> Answer:
    """Answer UploadPart: the part takes the place of an earlier one of its number."""
    out, request = call.out, call.request
    number = multipart.part_number(request)
    upload = out.index.uploads.find(call.key, _upload_id(call))
    form = payload(request)
    digests = Digests.of_request(request, form, algorithm=upload.algorithm)
    extents = await body.store(body.Content(call.incoming, form, call.signed), digests, out.stage)
    part = StoredPart(
        number=number,
        size=digests.size,
        etag=digests.etag,
        modified=modified_now(),
        extents=extents,
        checksum=kept(digests.checksum),
    )
    out.index.uploads.put_part(call.key, upload.id, part, epoch=call.epoch)
    call.count(part.size)
    headers = tags_of(part.etag, kept(digests.answered))
    headers.pop("x-amz-checksum-type", None)
    return empty(200, headers)


async def upload_part_copy(call: Call) -> Answer:
    """Answer UploadPartCopy: the part shares its source's bytes, read only to be hashed."""
    out, request = call.out, call.request
    number = multipart.part_number(request)
    upload = out.index.uploads.find(call.key, _upload_id(call))
    source = copying.copy_source(request)
    there = await source_of(call, source)
    span = ranges.copy_span(request.headers.get("x-amz-copy-source-range"), there.size)
    etag, checksum = await _digests(call, there, source, span, upload)
    part = StoredPart(
        number=number,
        size=span.length,
        etag=etag,
        modified=modified_now(),
        extents=cut(there.extents, span.start, span.stop),
        checksum=checksum,
    )
    out.index.uploads.put_part(call.key, upload.id, part, epoch=call.epoch)
    return document(
        documents.part_copied(etag=part.etag, modified=part.modified, checksum=part.checksum)
    )


async def _digests(
    call: Call, there: Entry, source: copying.CopySource, span: ranges.Span, upload: Upload
) -> tuple[str, Checksum]:
    whole = span.length == there.size and not there.parts
    algorithm = upload.algorithm or DEFAULT_ALGORITHM
    if whole and there.checksum and there.checksum.algorithm == algorithm:
        return there.etag, there.checksum
    digests = Digests(algorithm=algorithm)
    bucket = call.buckets.find(source.bucket)
    async for piece in bucket.payload(there, span.start, span.stop):
        await in_thread(digests.update, piece)
    return digests.etag, kept(digests.checksum)


async def complete(call: Call) -> Answer:
    """Answer CompleteMultipartUpload; asked again, it is answered again."""
    out, request = call.out, call.request
    decide = deciding(write_conditions(request.headers))
    sent = await call.document()
    listed = await in_thread(bodies.parse_complete, sent)

    def assemble(upload: Upload, parts: list[StoredPart]) -> Entry:
        made = multipart.complete(listed, {part.number: part for part in parts}, upload, request)
        return Entry(
            key=upload.key,
            size=made.size,
            etag=made.etag,
            modified=modified_now(),
            extents=tuple(extent for part in made.parts for extent in part.extents),
            headers=upload.headers,
            metadata=upload.metadata,
            tags=upload.tags,
            checksum=kept(made.checksum),
            parts=tuple(Part(part.number, part.size, part.checksum) for part in made.parts),
        )

    def make() -> Entry:
        return out.index.uploads.complete(
            call.key, _upload_id(call), assemble=assemble, epoch=call.epoch, decide=decide
        )

    # Ten thousand parts are more than the loop may be kept from its other clients for.
    entry = await in_thread(make)
    location = f"{call.scheme}://{request.host}{request.path}"
    return document(
        documents.completed(
            out.name, entry.key, etag=entry.etag, checksum=entry.checksum, location=location
        )
    )


async def abort(call: Call) -> Answer:
    """Answer AbortMultipartUpload."""
    call.out.index.uploads.abort(call.key, _upload_id(call), epoch=call.epoch)
    return empty(204)


async def list_parts(call: Call) -> Answer:
    """Answer ListParts."""
    query = listing.parse_parts(call.request)
    index = call.out.index
    upload = index.uploads.find(call.key, _upload_id(call))
    page = listing.parts_page(index.uploads.parts(call.key, upload.id), query)
    return document(documents.list_parts(call.bucket.name, upload, query, page))


def _upload_id(call: Call) -> str:
    return call.request.params["uploadId"]
