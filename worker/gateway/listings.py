"""Listings: of buckets, of objects in all three forms, and of uploads that go on."""

from collections.abc import Awaitable, Callable, Iterator

from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutBucket
from worker.gateway.call import Call, document, empty
from worker.gateway.exchange import Answer
from worker.model import Entry
from worker.s3 import documents, listing


def list_objects(kind: str) -> Callable[[Call], Awaitable[Answer]]:
    """Return the handler of ListObjects, ListObjectsV2 or ListObjectVersions."""

    async def answer(call: Call) -> Answer:
        query = listing.parse_list(call.request, kind)

        def source(start: str) -> Iterator[Entry]:
            return call.bucket.entries(start)

        def make() -> bytes:
            return documents.list_page(call.bucket.name, query, listing.page(source, query))

        return document(await in_thread(make))

    return answer


async def head_bucket(_call: Call) -> Answer:
    """Answer HeadBucket: it is there."""
    return empty(200, {"x-amz-bucket-region": "us-east-1", "x-amz-access-point-alias": "false"})


async def list_uploads(call: Call) -> Answer:
    """Answer ListMultipartUploads; to an input nothing can be uploaded, so it has none."""
    query = listing.parse_uploads(call.request)
    bucket = call.bucket

    def make() -> bytes:
        # Not from the markers on: what a prefix or a marker leaves out is few, uploads are few.
        uploads = bucket.index.uploads.listed() if isinstance(bucket, OutBucket) else iter(())
        page = listing.uploads_page(uploads, query)
        return documents.list_uploads(bucket.name, query, page)

    return document(await in_thread(make))
