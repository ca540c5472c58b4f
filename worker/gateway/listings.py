"""Operations that read a bucket: the three listings of its objects, and HeadBucket."""

from typing import TYPE_CHECKING

from trio.to_thread import run_sync as in_thread

from worker.gateway.http import Response, xml
from worker.s3.bucket_listing import REGION, bucket_arn
from worker.s3.error_codes import S3Error
from worker.s3.listing import VERSIONS, page, parse_list
from worker.s3.listing_responses import list_objects as list_objects_response

if TYPE_CHECKING:
    from worker.gateway.application import Context

_REGION_HEADER = "x-amz-bucket-region"


async def list_objects(context: "Context", kind: str) -> Response:
    """Handle ListObjects, ListObjectsV2 or ListObjectVersions, as *kind* says."""
    bucket = context.bucket
    # S3 does not document the header of ListObjects and ListObjectsV2, but always sends it.
    region = {} if kind == VERSIONS else {_REGION_HEADER: REGION}
    try:
        query = parse_list(context.request, kind)
    except S3Error as error:
        error.headers = {**error.headers, **region}
        raise

    def make() -> bytes:
        return list_objects_response(bucket.name, query, page(bucket.entries, query))

    headers = [(name.encode(), value.encode()) for name, value in region.items()]
    return xml(await in_thread(make), headers)


async def head_bucket(context: "Context") -> Response:
    """Handle HeadBucket."""
    return Response(
        200,
        [
            (_REGION_HEADER.encode(), REGION.encode()),
            (b"x-amz-access-point-alias", b"false"),
            (b"x-amz-bucket-arn", bucket_arn(context.bucket.name).encode()),
            (b"content-type", b"application/xml"),
            (b"content-length", b"0"),
        ],
    )
