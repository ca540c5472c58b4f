"""ListBuckets."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.bucket_listing import buckets_page, list_buckets, parse_buckets

BUCKETS = [("out", 0), ("a", 0), ("b", 0)]


def _buckets(query=""):
    parsed = parse_buckets(a_request("GET", f"/?{query}"))
    found = buckets_page(BUCKETS, parsed)
    return [name for name, _ in found.buckets], found.token


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("", ["a", "b", "out"], id="all"),
        pytest.param("prefix=o", ["out"], id="prefix"),
        pytest.param("bucket-region=us-east-1", ["a", "b", "out"], id="their region"),
        pytest.param("bucket-region=US-east-1", ["a", "b", "out"], id="region in another case"),
        pytest.param("max-buckets=", ["a", "b", "out"], id="no number"),
        pytest.param("max-buckets=03", ["a", "b", "out"], id="page that holds all"),
        pytest.param("continuation-token=&prefix=a", ["a"], id="empty token"),
    ],
)
def test_buckets_are_filtered_by_prefix_and_region(query, names):
    assert (names, None) == _buckets(query)


def test_buckets_are_listed_in_pages():
    first, token = _buckets("max-buckets=2")

    assert (["a", "b"], (["out"], None)) == (first, _buckets(f"continuation-token={token}"))


REGIONAL = "Requests with bucket-region specified must be made to the corresponding regional endp"


@pytest.mark.parametrize(
    ("query", "name", "value", "message"),
    [
        ("max-buckets=0", "max-buckets", "0", "Argument max-buckets must be an integer between 1"),
        ("max-buckets=-01", "max-buckets", "-1", "Argument max-buckets must be an integer"),
        ("max-buckets=10001", "max-buckets", "10001", "Argument max-buckets must be an integer"),
        ("max-buckets=x", "max-buckets", "x", "Provided max-buckets not an integer or within"),
        ("bucket-region=nowhere", "bucket-region", None, "Argument value nowhere is not a valid"),
        ("bucket-region=", "bucket-region", None, "Argument value  is not a valid AWS Region"),
        ("bucket-region=eu-west-1", "bucket-region", None, REGIONAL),
        ("continuation-token=x", "continuation-token", None, "The continuation token provided"),
    ],
)
def test_invalid_parameters_are_rejected_as_by_s3(query, name, value, message):
    with raises_s3_error("InvalidArgument") as error:
        _buckets(query)

    expected = {"ArgumentName": name} | ({} if value is None else {"ArgumentValue": value})
    assert expected == error().fields
    assert error().message.startswith(message)


@pytest.mark.parametrize(
    ("query", "region"),
    [
        ("", ""),
        ("x-id=ListBuckets", ""),
        *((f"{name}=", "us-east-1") for name in ("prefix", "max-buckets", "continuation-token")),
    ],
)
def test_buckets_have_their_region_in_response_to_any_parameter(query, region):
    """As in S3, also to an empty one."""
    parsed = parse_buckets(a_request("GET", f"/?{query}"))
    found = list_buckets(parsed, buckets_page([("a", 0)], parsed))

    assert (f"<BucketRegion>{region}</BucketRegion>".encode() in found) == bool(region)
    assert (b"<Prefix></Prefix>" in found) == query.startswith("prefix")


def test_the_response_has_the_elements_in_the_order_of_s3():
    parsed = parse_buckets(a_request("GET", "/?max-buckets=1&prefix=a"))
    found = list_buckets(parsed, buckets_page([("a1", 1500), ("a2", 0)], parsed))

    assert (
        b"<Buckets><Bucket><Name>a1</Name><CreationDate>1970-01-01T00:00:01.000Z</CreationDate>"
        b"<BucketRegion>us-east-1</BucketRegion><BucketArn>arn:aws:s3:::a1</BucketArn></Bucket>"
        b"</Buckets><Prefix>a</Prefix><ContinuationToken>1YTI</ContinuationToken>"
    ) in found
