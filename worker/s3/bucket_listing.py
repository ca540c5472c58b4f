"""ListBuckets: its parameters, pages and response."""

import re
from collections.abc import Iterable, Mapping

import attrs

from worker.s3.error_codes import invalid_argument
from worker.s3.list_parameters import integer, start_of, token_of
from worker.s3.request import Request
from worker.s3.xml_responses import OWNER, document, element, optional, timestamp

MAX_BUCKETS = 10_000

REGION = "us-east-1"
"""The region of every bucket."""
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-[0-9]{1,2}", re.ASCII)
_PARAMETERS = frozenset(("prefix", "bucket-region", "max-buckets", "continuation-token"))


@attrs.frozen
class BucketsQuery:
    """The parameters of ListBuckets."""

    prefix: str | None
    limit: int
    """max-buckets; as in S3, all buckets up to this number are on one page."""
    start: str
    """The first name that may be listed."""
    with_region: bool
    """Whether the buckets are listed with their region: in response to any parameter."""


@attrs.frozen
class BucketsPage:
    """A page of pairs of name and creation time in milliseconds, sorted by name."""

    buckets: tuple[tuple[str, int], ...]
    token: str | None
    """The continuation token of the next page; None for the last page."""


def parse_buckets(request: Request) -> BucketsQuery:
    """Parse the parameters of ListBuckets; raises InvalidArgument."""
    params = request.params
    limit = integer(params, "max-buckets", MAX_BUCKETS)
    if not 1 <= limit <= MAX_BUCKETS:
        raise invalid_argument(
            "max-buckets",
            str(limit),
            f"Argument max-buckets must be an integer between 1 and {MAX_BUCKETS}",
        )
    _check_region(params)
    # Unlike ListObjectsV2, S3 accepts an empty token here.
    token = params.get("continuation-token")
    return BucketsQuery(
        params.get("prefix"),
        limit,
        start_of(token) if token else "",
        with_region=not _PARAMETERS.isdisjoint(params),
    )


def _check_region(params: Mapping[str, str]) -> None:
    """Reject a bucket-region other than that of all buckets, as an endpoint of S3 does."""
    region = params.get("bucket-region")
    if region is None or region.lower() == REGION:
        return
    message = f"Argument value {region} is not a valid AWS Region"
    # AWS has a list of its regions, which grows. Here, the form of a name decides.
    if _REGION.fullmatch(region.lower()):
        message = (
            "Requests with bucket-region specified must be made to the corresponding regional "
            "endpoint"
        )
    raise invalid_argument("bucket-region", None, message)


def buckets_page(buckets: Iterable[tuple[str, int]], query: BucketsQuery) -> BucketsPage:
    """Return a page of *buckets*, which are pairs of name and creation time in milliseconds."""
    found = [
        (name, created)
        for name, created in sorted(buckets)
        if name.startswith(query.prefix or "") and name >= query.start
    ]
    if len(found) <= query.limit:
        return BucketsPage(tuple(found), None)
    return BucketsPage(tuple(found[: query.limit]), token_of(found[query.limit][0]))


def list_buckets(query: BucketsQuery, page: BucketsPage) -> bytes:
    """Return the response with a page of ListBuckets."""
    region = element("BucketRegion", REGION) if query.with_region else ""
    rows = "".join(
        f"<Bucket>{element('Name', name)}<CreationDate>{timestamp(created)}</CreationDate>"
        f"{region}{element('BucketArn', bucket_arn(name))}</Bucket>"
        for name, created in page.buckets
    )
    return document(
        "ListAllMyBucketsResult",
        f"<Owner>{OWNER}</Owner><Buckets>{rows}</Buckets>"
        f"{optional('Prefix', query.prefix)}{optional('ContinuationToken', page.token)}",
    )


def bucket_arn(name: str) -> str:
    """Return the Amazon Resource Name of a bucket."""
    return f"arn:aws:s3:::{name}"
