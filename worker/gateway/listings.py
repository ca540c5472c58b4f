"""Listings: objects in all three forms, multipart uploads, parts."""

from typing import TYPE_CHECKING

from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutputBucket
from worker.gateway.http import Response, empty, xml
from worker.s3 import listing, xml_responses

if TYPE_CHECKING:
    from worker.gateway.application import Context

BUCKET_HEADERS = [
    (b"x-amz-bucket-region", listing.REGION.encode()),
    (b"x-amz-access-point-alias", b"false"),
]


async def list_objects(context: "Context", kind: str) -> Response:
    """Handle ListObjects, ListObjectsV2 or ListObjectVersions, as *kind* says."""
    bucket, query = context.bucket, listing.parse_list(context.request, kind)

    def make() -> bytes:
        page = listing.page(bucket.entries, query)
        return xml_responses.list_objects(bucket.name, query, page)

    return xml(await in_thread(make))


async def head_bucket(_context: "Context") -> Response:
    """Handle HeadBucket."""
    return empty(200, BUCKET_HEADERS)


async def list_uploads(context: "Context") -> Response:
    """Handle ListMultipartUploads; an input bucket has no uploads."""
    query, bucket = listing.parse_uploads(context.request), context.bucket

    def make() -> bytes:
        # All uploads are read, not those after the markers: there are few.
        uploads = bucket.uploads() if isinstance(bucket, OutputBucket) else iter(())
        page = listing.uploads_page(uploads, query)
        return xml_responses.list_multipart_uploads(bucket.name, query, page)

    return xml(await in_thread(make))


async def list_parts(context: "Context") -> Response:
    """Handle ListParts."""
    query = listing.parse_parts(context.request)
    bucket = context.application.writable(context.bucket)
    upload = bucket.upload(context.key, context.request.params["uploadId"])
    page = listing.parts_page(bucket.parts(context.key, upload.id), query)
    return xml(xml_responses.list_parts(bucket.name, upload, query, page))
