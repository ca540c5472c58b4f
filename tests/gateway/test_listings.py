"""Listings over HTTP: of buckets, and of objects in all three forms."""

import pytest
from gateways import FILES
from trio.to_thread import run_sync as in_thread

KEYS = sorted(FILES, key=str.encode)


async def test_the_buckets_are_those_of_the_job(gateway):
    """Every input and `out`, in the order of their names."""
    client = gateway.client()
    buckets = (await in_thread(client.list_buckets))["Buckets"]

    assert ["labresults", "out"] == [each["Name"] for each in buckets]


@pytest.mark.parametrize("form", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_every_key_comes_once_in_order(gateway, form, size):
    """However many go on a page, the pages together are the bucket."""
    client = gateway.client()

    def use():
        pages = client.get_paginator(form).paginate(
            Bucket="labresults", PaginationConfig={"PageSize": size}
        )
        return [each["Key"] for page in pages for each in page["Contents"]]

    assert KEYS == await in_thread(use)


async def test_folders_are_folded(gateway):
    """Under a delimiter, what lies below a folder is the folder."""
    client = gateway.client()

    def use():
        page = client.list_objects_v2(Bucket="labresults", Delimiter="/")
        return [each["Key"] for each in page["Contents"]], page["CommonPrefixes"]

    assert (["a.txt", "two words.txt"], [{"Prefix": "nested/"}]) == await in_thread(use)


async def test_versions_have_the_form_of_a_bucket_without_any(gateway):
    """Each object is its own latest version, called null."""
    client = gateway.client()

    def use():
        listed = client.list_object_versions(Bucket="labresults")["Versions"]
        return [each["Key"] for each in listed], {each["VersionId"] for each in listed}

    assert (KEYS, {"null"}) == await in_thread(use)


async def test_the_output_is_listed_while_it_is_written(gateway):
    """An object is in the listing as soon as its put was acknowledged."""
    client = gateway.client()

    def use():
        counts = []
        for number in range(3):
            client.put_object(Bucket="out", Key=f"k{number}", Body=b"")
            counts.append(client.list_objects_v2(Bucket="out")["KeyCount"])
        return counts

    assert [1, 2, 3] == await in_thread(use)


async def test_etags_of_listings_are_those_of_objects(gateway):
    """A client that compares a listing with HEAD finds them equal, times to the second."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data")
        (listed,) = client.list_objects_v2(Bucket="out")["Contents"]
        head = client.head_object(Bucket="out", Key="k")
        return [
            (
                each["ETag"],
                int(each["LastModified"].timestamp()),
                each.get("Size", each.get("ContentLength")),
            )
            for each in (listed, head)
        ]

    listed, head = await in_thread(use)

    assert listed == head


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("get_bucket_location", {"LocationConstraint": None}),
        ("get_bucket_versioning", {}),
        ("get_bucket_request_payment", {"Payer": "BucketOwner"}),
    ],
)
async def test_a_bucket_answers_for_itself(gateway, operation, expected):
    """Questions about a bucket get what a plain private one answers."""
    client = gateway.client()
    found = await in_thread(lambda: getattr(client, operation)(Bucket="out"))

    assert expected == {name: found[name] for name in found if name != "ResponseMetadata"}


async def test_a_bucket_is_there(gateway):
    """HeadBucket is 200 for a bucket of the job."""
    client = gateway.client()
    answer = await in_thread(lambda: client.head_bucket(Bucket="out"))

    assert 200 == answer["ResponseMetadata"]["HTTPStatusCode"]
