"""Operations on objects by name: read, put, copy, delete, tags, attributes."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from email.utils import formatdate

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.buckets.bucket import Bucket
from worker.buckets.index import now_ms
from worker.buckets.uploads import Decide
from worker.gateway import body
from worker.gateway.call import Call, document, empty, kept, tags_of
from worker.gateway.exchange import Answer
from worker.model import Checksum, Entry
from worker.s3 import bodies, copying, documents, metadata, reading
from worker.s3.attributes import attributes
from worker.s3.checksums import checksum_of
from worker.s3.conditions import (
    Conditions,
    check_copy,
    check_delete,
    check_write,
    copy_conditions,
    delete_conditions,
    write_conditions,
)
from worker.s3.digests import Digests
from worker.s3.errors import S3Error
from worker.s3.payload import payload
from worker.store.blobs import check

ONE_PIECE = 1 << 20
"""Up to this size the payload goes out in one piece, with the end of the answer."""
CHECKED = 1 << 16
"""Up to this size an object that is read whole is compared with what was stored. Beyond it that
would halve the speed; clients have the stored checksum to compare, and ``worker verify`` does."""


async def get_object(call: Call) -> Answer:
    """Answer GetObject and HeadObject."""
    entry = await call.bucket.entry(call.key)
    found = reading.read(call.request, entry)
    if call.request.method == "HEAD" or found.start == found.stop:
        return Answer(found.status, found.headers)
    pieces = call.bucket.payload(entry, found.start, found.stop)
    if found.stop - found.start > ONE_PIECE:
        return Answer(found.status, found.headers, _counted(call, pieces))
    data = b"".join([piece async for piece in pieces])
    if len(data) == entry.size <= CHECKED:
        check(entry.extents, data)
    call.count(len(data))
    return Answer(found.status, found.headers, data)


async def _counted(call: Call, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        yield piece
        call.count(len(piece))


async def put_object(call: Call) -> Answer:
    """Answer PutObject: the object is there, whole, when this returns, and not a moment before."""
    out, request = call.out, call.request
    decide = deciding(write_conditions(request.headers))
    described = metadata.described(request)
    form = payload(request)
    digests = Digests.of_request(request, form)
    # What is refused by what is there now need not be received; at the change it is asked again.
    decide(out.index.get(call.key))
    extents = await body.store(body.Content(call.incoming, form, call.signed), digests, out.stage)
    entry = Entry(
        key=call.key,
        size=digests.size,
        etag=digests.etag,
        modified=modified_now(),
        extents=extents,
        headers=described.headers,
        metadata=described.metadata,
        tags=described.tags,
        checksum=kept(digests.checksum),
    )
    out.index.put(entry, epoch=call.epoch, decide=decide)
    call.count(entry.size)
    return empty(200, tags_of(entry.etag, entry.checksum))


def deciding(conditions: Conditions) -> Decide:
    """Return what decides, at the moment of a write, whether what is there allows it."""
    return lambda there: check_write(conditions, there.etag if there else None)


def modified_now() -> int:
    """Return the time of a change, in milliseconds, as listings tell it.

    Not in whole seconds. Rounded down it would lie before the file that was just uploaded was
    made, and `aws s3 sync` would upload it again and again; rounded up it would lie ahead, and
    s5cmd lists nothing from the future.
    """
    return now_ms()


async def copy_object(call: Call) -> Answer:
    """Answer CopyObject: the new object shares its source's bytes; none is read or written."""
    out, request = call.out, call.request
    decide = deciding(write_conditions(request.headers))
    source = copying.copy_source(request)
    there = await source_of(call, source)
    carried = copying.carried(request, source, there)
    checksum = there.checksum
    if carried.algorithm and (checksum is None or checksum.algorithm != carried.algorithm):
        # The one thing about a copy that can't be told without reading.
        bucket = call.buckets.find(source.bucket)
        checksum = await _checksum(bucket, there, carried.algorithm)
    entry = Entry(
        key=call.key,
        size=there.size,
        etag=there.etag,
        modified=modified_now(),
        extents=there.extents,
        headers=carried.headers,
        metadata=carried.metadata,
        tags=carried.tags,
        checksum=checksum,
        parts=there.parts,
    )
    out.index.put(entry, epoch=call.epoch, decide=decide)
    return document(
        documents.copied(etag=entry.etag, modified=entry.modified, checksum=entry.checksum)
    )


async def source_of(call: Call, source: copying.CopySource) -> Entry:
    """Return the entry of a copy's source, if it is as the request says it must be."""
    there = await call.buckets.find(source.bucket).entry(source.key)
    conditions = copy_conditions(call.request.headers)
    check_copy(conditions, etag=there.etag, modified=there.modified)
    return there


async def _checksum(bucket: Bucket, entry: Entry, algorithm: str) -> Checksum:
    pieces = bucket.payload(entry, 0, entry.size)

    async def following() -> bytes:
        return await anext(pieces, b"")

    def read() -> Iterator[bytes]:
        while piece := trio.from_thread.run(following):
            yield piece

    return kept(await in_thread(lambda: checksum_of(algorithm, read())))


async def delete_object(call: Call) -> Answer:
    """Answer DeleteObject: that nothing was there is fine, unless a condition says otherwise."""
    _remove(call, call.key, delete_conditions(call.request.headers))
    return empty(204)


async def delete_objects(call: Call) -> Answer:
    """Answer DeleteObjects: each key for itself, and what was refused is named in the answer."""
    call.buckets.writable(call.bucket)
    sent = await call.document()
    asked = await in_thread(bodies.parse_delete, sent)

    def remove_all() -> list[tuple[str, S3Error | None]]:
        return [(each.key, _refused(call, each)) for each in asked.objects]

    return document(documents.deleted(await in_thread(remove_all), quiet=asked.quiet))


def _refused(call: Call, each: bodies.ToDelete) -> S3Error | None:
    if each.refusal is not None:
        return each.refusal
    try:
        _remove(call, each.key, each.conditions)
    except S3Error as error:
        return error
    return None


def _remove(call: Call, key: str, conditions: Conditions) -> None:
    def decide(there: Entry | None) -> None:
        check_delete(
            conditions,
            etag=there.etag if there else "",
            modified=there.modified if there else 0,
            size=there.size if there else 0,
            present=there is not None,
        )

    call.out.index.remove(key, epoch=call.epoch, decide=decide)


async def get_object_attributes(call: Call) -> Answer:
    """Answer GetObjectAttributes."""
    entry = await call.bucket.entry(call.key)
    modified = formatdate(entry.modified // 1000, usegmt=True)
    return document(attributes(call.request, entry), {"last-modified": modified})


async def get_object_tagging(call: Call) -> Answer:
    """Answer GetObjectTagging."""
    entry = await call.bucket.entry(call.key)
    return document(documents.tagging(entry.tags))


async def put_object_acl(call: Call) -> Answer:
    """Answer PutObjectAcl, which can only say what is so: all is the owner's."""
    bodies.check_acl(call.request, await call.document())
    await call.bucket.entry(call.key)
    return empty(200)


async def put_object_tagging(call: Call) -> Answer:
    """Answer PutObjectTagging."""
    index = call.out.index
    tags = bodies.parse_tagging(await call.document())
    index.replace(call.key, lambda there: attrs.evolve(there, tags=tags), epoch=call.epoch)
    return empty(200)


async def delete_object_tagging(call: Call) -> Answer:
    """Answer DeleteObjectTagging."""
    index = call.out.index
    index.replace(call.key, lambda there: attrs.evolve(there, tags={}), epoch=call.epoch)
    return empty(204)
