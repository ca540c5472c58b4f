"""Objects over HTTP: read, put, copied, deleted, tagged, as boto3 asks for it."""

import hashlib

import pytest
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread


async def test_a_put_object_is_read_back(gateway):
    """What was acknowledged is there at once, byte by byte, with the MD5 as its ETag."""
    client = gateway.client()

    def use():
        put = client.put_object(Bucket="out", Key="k", Body=b"data", Metadata={"colour": "blue"})
        got = client.get_object(Bucket="out", Key="k")
        return put["ETag"], got["ETag"], got["Body"].read(), got["Metadata"]

    tag = f'"{hashlib.md5(b"data").hexdigest()}"'

    assert (tag, tag, b"data", {"colour": "blue"}) == await in_thread(use)


async def test_an_input_is_read(gateway):
    """The files of the commit are the objects of the bucket."""
    client = gateway.client()

    def use():
        return client.get_object(Bucket="labresults", Key="nested/deep/ü.txt")["Body"].read()

    assert b"umlaut" == await in_thread(use)


async def test_an_input_refuses_writes_and_says_where_to_write(gateway):
    """A write to an input names the bucket that can be written."""
    client = gateway.client()

    def use():
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket="labresults", Key="k", Body=b"x" * 3_000_000)
        error = refused.value.response["Error"]
        return error["Code"], error["Message"]

    assert (
        "AccessDenied",
        "`labresults` is a read-only input; write to s3://out",
    ) == await in_thread(use)


async def test_a_large_object_is_streamed_both_ways(gateway):
    """An object of many pieces comes back as it was sent."""
    client = gateway.client()
    data = bytes(range(256)) * 4096 * 12 + b"end"

    def use():
        client.put_object(Bucket="out", Key="large", Body=data)
        return client.get_object(Bucket="out", Key="large")["Body"].read() == data

    assert await in_thread(use)
