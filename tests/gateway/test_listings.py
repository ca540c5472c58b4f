"""Listings over HTTP."""

import attrs
import pytest
from gateways import FILES
from trio.to_thread import run_sync as in_thread

KEYS = sorted(FILES, key=str.encode)


async def test_list_buckets_has_every_input_and_out(gateway):
    """Sorted by name."""
    client = gateway.client()
    buckets = (await in_thread(client.list_buckets))["Buckets"]

    assert ["labresults", "out"] == [each["Name"] for each in buckets]


@pytest.mark.parametrize("form", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_pages_of_any_size_have_every_key_once_in_order(gateway, form, size):
    client = gateway.client()

    def use():
        pages = client.get_paginator(form).paginate(
            Bucket="labresults", PaginationConfig={"PageSize": size}
        )
        return [each["Key"] for page in pages for each in page["Contents"]]

    assert KEYS == await in_thread(use)


async def test_keys_below_a_delimiter_are_common_prefixes(gateway):
    client = gateway.client()

    def use():
        page = client.list_objects_v2(Bucket="labresults", Delimiter="/")
        return [each["Key"] for each in page["Contents"]], page["CommonPrefixes"]

    assert (["a.txt", "two words.txt"], [{"Prefix": "nested/"}]) == await in_thread(use)


async def test_every_object_is_its_latest_version_null(gateway):
    client = gateway.client()

    def use():
        listed = client.list_object_versions(Bucket="labresults")["Versions"]
        return [each["Key"] for each in listed], {each["VersionId"] for each in listed}

    assert (KEYS, {"null"}) == await in_thread(use)


async def test_an_object_is_listed_once_its_put_is_acknowledged(gateway):
    client = gateway.client()

    def use():
        counts = []
        for number in range(3):
            client.put_object(Bucket="out", Key=f"k{number}", Body=b"")
            counts.append(client.list_objects_v2(Bucket="out")["KeyCount"])
        return counts

    assert [1, 2, 3] == await in_thread(use)


async def test_listings_and_head_have_the_same_etag_and_date(gateway):
    """Also if it was changed within a second."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data")
        gateway.index.update(
            "k", lambda entry: attrs.evolve(entry, modified=1_700_000_000_534), epoch=0
        )
        (listed,) = client.list_objects_v2(Bucket="out")["Contents"]
        head = client.head_object(Bucket="out", Key="k")
        attributes = client.get_object_attributes(
            Bucket="out", Key="k", ObjectAttributes=["ETag", "ObjectSize"]
        )
        return [
            (
                each["ETag"].strip('"'),
                each["LastModified"].timestamp(),
                each.get("Size", each.get("ContentLength", each.get("ObjectSize"))),
            )
            for each in (listed, head, attributes)
        ]

    listed, head, attributes = await in_thread(use)

    assert listed == head == attributes
    assert 1_700_000_000 == head[1]


async def test_the_date_in_a_response_is_valid_in_later_conditions(gateway):
    """An object is not modified since the second of its upload."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data")
        gateway.index.update(
            "k", lambda entry: attrs.evolve(entry, modified=1_700_000_000_534), epoch=0
        )
        return client.get_object(Bucket="out", Key="k", IfUnmodifiedSince=1_700_000_000)

    assert 200 == (await in_thread(use))["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("get_bucket_location", {"LocationConstraint": None}),
        ("get_bucket_versioning", {}),
        ("get_bucket_request_payment", {"Payer": "BucketOwner"}),
    ],
)
async def test_the_configuration_of_a_bucket_is_canned(gateway, operation, expected):
    client = gateway.client()
    found = await in_thread(lambda: getattr(client, operation)(Bucket="out"))

    assert expected == {name: found[name] for name in found if name != "ResponseMetadata"}


async def test_head_bucket_describes_the_bucket(gateway):
    client = gateway.client()
    answer = await in_thread(lambda: client.head_bucket(Bucket="out"))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]  # older botocore drops the newer fields

    assert ("us-east-1", "false", "arn:aws:s3:::out", "application/xml") == (
        headers["x-amz-bucket-region"],
        headers["x-amz-access-point-alias"],
        headers["x-amz-bucket-arn"],
        headers["content-type"],
    )


@pytest.mark.parametrize(
    ("query", "status", "region"),
    [
        ("list-type=2", 200, True),
        ("prefix=a", 200, True),
        ("start-after=a", 400, True),
        ("versions", 200, False),
        ("versions&max-keys=-1", 400, False),
    ],
)
async def test_listings_name_the_region_of_the_bucket(gateway, query, status, region):
    """As in S3, also their errors, and not ListObjectVersions."""
    answer = await gateway.send_request(
        f"GET /out?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    head = answer.partition(b"\r\n\r\n")[0].lower()

    assert head.startswith(b"http/1.1 %d " % status)
    assert (b"\r\nx-amz-bucket-region: us-east-1" in head) == region
