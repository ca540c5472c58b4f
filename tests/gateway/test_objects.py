"""Operations on objects over HTTP, with boto3."""

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread

from worker.gateway.messages import BucketStatistics
from worker.model import Checksum, Extent, Part

LARGE = bytes(range(256)) * 4096 * 3 + b"end"


def error_of(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Return status and code of the error of a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


async def test_an_acknowledged_put_is_readable(gateway):
    """With the MD5 as its ETag."""
    client = gateway.client()

    def use():
        put = client.put_object(
            Bucket="out",
            Key="k",
            Body=b"data",
            Metadata={"colour": "blue"},
            ContentType="text/x-data",
            CacheControl="no-cache",
        )
        got = client.get_object(Bucket="out", Key="k")
        return (
            put["ETag"],
            got["ETag"],
            got["Body"].read(),
            got["Metadata"],
            got["ContentType"],
            got["CacheControl"],
        )

    tag = f'"{hashlib.md5(b"data").hexdigest()}"'

    assert (tag, tag, b"data", {"colour": "blue"}, "text/x-data", "no-cache") == await in_thread(
        use
    )


async def test_the_files_of_an_input_are_objects(gateway):
    client = gateway.client()

    def use():
        return client.get_object(Bucket="labresults", Key="nested/deep/ü.txt")["Body"].read()

    assert b"umlaut" == await in_thread(use)


async def test_virtual_hosted_style_reaches_the_same_objects(gateway):
    answer = await gateway.send_request(
        b"GET /a.txt HTTP/1.1\r\nhost: labresults.localhost\r\nconnection: close\r\n\r\n"
    )

    assert answer.endswith(b"\r\n\r\nalpha")


WRITES = {
    "put": ("put_object", {"Key": "k", "Body": b"x" * 3_000_000}),
    "copy": ("copy_object", {"Key": "k", "CopySource": "out/a"}),
    "delete": ("delete_object", {"Key": "a.txt"}),
    "delete several": ("delete_objects", {"Delete": {"Objects": [{"Key": "a.txt"}]}}),
    "upload": ("create_multipart_upload", {"Key": "k"}),
    "tag": ("put_object_tagging", {"Key": "a.txt", "Tagging": {"TagSet": []}}),
    "untag": ("delete_object_tagging", {"Key": "a.txt"}),
}


@pytest.mark.parametrize(("name", "arguments"), WRITES.values(), ids=WRITES)
async def test_a_write_to_an_input_is_denied_and_names_the_output(gateway, name, arguments):
    client = gateway.client()

    def use():
        with pytest.raises(ClientError) as caught:
            getattr(client, name)(Bucket="labresults", **arguments)
        return caught.value.response["Error"]

    error = await in_thread(use)

    assert "AccessDenied" == error["Code"]
    assert "`labresults` is a read-only input; write to s3://out" == error["Message"]


async def test_an_unknown_bucket_is_rejected_with_the_names_of_all_buckets(gateway):
    client = gateway.client()

    def use():
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket="lab-results", Key="k")
        return caught.value.response["Error"]

    error = await in_thread(use)

    assert "NoSuchBucket" == error["Code"]
    assert "s3://labresults, s3://out" in error["Message"]


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        ("out", (409, "BucketAlreadyOwnedByYou")),
        ("labresults", (409, "BucketAlreadyOwnedByYou")),
        ("another", (403, "AccessDenied")),
    ],
)
async def test_create_bucket_of_an_existing_bucket_is_already_owned(gateway, bucket, expected):
    """Clients continue after this error."""
    client = gateway.client()

    assert expected == await in_thread(lambda: error_of(client.create_bucket, Bucket=bucket))


async def test_a_large_object_and_its_ranges_round_trip(gateway):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="large", Body=LARGE)
        whole = client.get_object(Bucket="out", Key="large")["Body"].read()
        part = client.get_object(Bucket="out", Key="large", Range="bytes=-5")
        return whole == LARGE, part["Body"].read(), part["ContentRange"]

    size = len(LARGE)

    assert (True, LARGE[-5:], f"bytes {size - 5}-{size - 1}/{size}") == await in_thread(use)


CONDITIONS = {
    "new, where something is": ({"IfNoneMatch": "*"}, (412, "PreconditionFailed")),
    "other, by its tag": ({"IfMatch": '"0"'}, (412, "PreconditionFailed")),
}


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS.values(), ids=CONDITIONS)
async def test_a_put_whose_condition_fails_changes_nothing(gateway, condition, expected):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"old")
        answer = error_of(client.put_object, Bucket="out", Key="k", Body=b"new", **condition)
        return answer, client.get_object(Bucket="out", Key="k")["Body"].read()

    assert (expected, b"old") == await in_thread(use)


async def test_if_match_without_an_object_is_no_such_key(gateway):
    client = gateway.client()
    arguments = {"Bucket": "out", "Key": "k", "Body": b"", "IfMatch": "0" * 32}

    assert (404, "NoSuchKey") == await in_thread(lambda: error_of(client.put_object, **arguments))


async def test_of_hundreds_of_conditional_creations_one_succeeds(gateway):
    """`If-None-Match: *` on one key."""
    statuses: dict[int, int] = {}

    async def create(number: int) -> None:
        data = b"%d" % number
        answer = await gateway.send_request(
            b"PUT /out/k HTTP/1.1\r\nhost: localhost\r\nif-none-match: *\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(data), data)
        )
        statuses[number] = int(answer.split()[1])

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(create, number)
    (winner,) = [number for number, status in statuses.items() if status == 200]
    read = await gateway.send_request(
        b"GET /out/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )

    assert {200, 412} == set(statuses.values())
    assert read.endswith(b"\r\n\r\n%d" % winner)


async def test_a_read_in_flight_is_a_snapshot(gateway):
    """An overwrite does not change it."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=LARGE)
        body = client.get_object(Bucket="out", Key="k")["Body"]
        started = body.read(10)
        client.put_object(Bucket="out", Key="k", Body=b"new")
        client.delete_object(Bucket="out", Key="k")
        return started + body.read() == LARGE

    assert await in_thread(use)


WRONG = {
    "md5": ({"ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, (400, "BadDigest")),
    "no md5": ({"ContentMD5": "nonsense"}, (400, "InvalidDigest")),
    "sha256": (
        {"ChecksumSHA256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        (400, "BadDigest"),
    ),
    "crc32": ({"ChecksumCRC32": "AAAAAA=="}, (400, "BadDigest")),
}


@pytest.mark.parametrize("size", [4, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize(("digest", "expected"), WRONG.values(), ids=WRONG)
async def test_a_body_with_a_wrong_digest_is_rejected(gateway, digest, expected, size):
    """And not stored."""
    client = gateway.client(request_checksum_calculation="when_required")
    arguments = {"Bucket": "out", "Key": "k", "Body": b"x" * size, **digest}

    assert expected == await in_thread(lambda: error_of(client.put_object, **arguments))
    assert gateway.index.get("k") is None
    assert [] == [
        blob
        for blob in (gateway.plan.scratch.parent / "store" / "blobs").rglob("job-1/*")
        if blob.stat().st_size
    ]


async def test_the_payload_hash_is_verified_without_authentication(gateway):
    answer = await gateway.send_request(
        b"PUT /out/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\nconnection: close\r\n"
        b"x-amz-content-sha256: %s\r\n\r\ndata" % (b"0" * 64)
    )

    assert b"<Code>XAmzContentSHA256Mismatch</Code>" in answer


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
async def test_a_checksum_is_stored_and_returned_on_request(gateway, algorithm):
    client = gateway.client()

    def use():
        put = client.put_object(Bucket="out", Key="k", Body=b"d", ChecksumAlgorithm=algorithm)
        got = client.head_object(Bucket="out", Key="k", ChecksumMode="ENABLED")
        silent = client.head_object(Bucket="out", Key="k")
        name = f"Checksum{algorithm}"
        return put[name] == got[name], got["ChecksumType"], name in silent

    assert (True, "FULL_OBJECT", False) == await in_thread(use)


@pytest.mark.parametrize("size", [5, 3_000_000], ids=["small", "large"])
async def test_an_aws_chunked_body_is_decoded(gateway, size):
    data = b"x" * size
    cut = size // 2 if size > 100_000 else size
    chunks = [each for each in (data[:cut], data[cut:]) if each]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)
    framed += b"0\r\nx-amz-checksum-sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
    good = hashlib.sha1(data).digest()

    async def put(body: bytes) -> bytes:
        return await gateway.send_request(
            b"PUT /out/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
            b"content-encoding: aws-chunked,gzip\r\nx-amz-trailer: x-amz-checksum-sha1\r\n"
            b"x-amz-decoded-content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n" % size,
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        )

    wrong = await put(framed)
    right = await put(framed.replace(b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=", b64encode(good)))
    entry = gateway.index.get("k")

    assert b"<Code>BadDigest</Code>" in wrong
    assert right.startswith(b"HTTP/1.1 200 ")
    assert (size, hashlib.md5(data).hexdigest(), "gzip") == (
        entry.size,
        entry.etag,
        entry.headers["content-encoding"],
    )


async def test_a_copy_shares_the_extents_of_its_source(gateway):
    """In `out` and from an input; metadata is copied."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="a", Body=LARGE, Metadata={"n": "1"})
        client.copy_object(Bucket="out", Key="b", CopySource={"Bucket": "out", "Key": "a"})
        client.copy_object(Bucket="out", Key="c", CopySource="labresults/nested/deep/ü.txt")
        return (
            client.head_object(Bucket="out", Key="b")["Metadata"],
            client.get_object(Bucket="out", Key="c")["Body"].read(),
        )

    assert ({"n": "1"}, b"umlaut") == await in_thread(use)
    assert gateway.index.get("a").extents == gateway.index.get("b").extents


async def test_a_copy_reads_no_payload(gateway):
    """Whatever its checksum, it succeeds although no byte of its source can be read."""
    client = gateway.client()
    crc = Checksum("CRC32", "AAAAAA==")
    sources: dict[str, dict[str, Any]] = {
        "full": {"checksum": crc},
        "crc": {
            "checksum": Checksum("CRC32", "AAAAAA==-1", "COMPOSITE"),
            "parts": (Part(1, 4, checksum=crc),),
        },
        "sha": {"checksum": Checksum("SHA1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=-1", "COMPOSITE")},
    }

    def use():
        client.put_object(Bucket="out", Key="a", Body=b"data")
        lost = Extent("lost/lost", 0, 4, bytes(32), 0, 4)
        for key, fields in sources.items():
            entry = attrs.evolve(gateway.index.get("a"), key=key, extents=(lost,), **fields)
            gateway.index.put(entry, epoch=0)
            client.copy_object(Bucket="out", Key=f"copy/{key}", CopySource=f"out/{key}")

    await in_thread(use)

    copies = {key: gateway.index.get(f"copy/{key}").checksum for key in sources}
    assert {"full": crc, "crc": crc, "sha": sources["sha"]["checksum"]} == copies


async def test_a_copy_may_request_another_checksum(gateway):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="a", Body=LARGE)
        copied = client.copy_object(
            Bucket="out", Key="b", CopySource="out/a", ChecksumAlgorithm="SHA256"
        )
        return copied["CopyObjectResult"]["ChecksumSHA256"]

    assert b64encode(hashlib.sha256(LARGE).digest()).decode() == await in_thread(use)


async def test_a_copy_onto_itself_without_a_change_is_rejected(gateway):
    client = gateway.client()
    own = {"Bucket": "out", "Key": "a", "CopySource": "out/a"}

    def use():
        client.put_object(Bucket="out", Key="a", Body=b"1")
        answer = error_of(client.copy_object, **own)
        client.copy_object(**own, MetadataDirective="REPLACE", Metadata={"n": "2"})
        return answer, client.head_object(Bucket="out", Key="a")["Metadata"]

    assert ((400, "InvalidRequest"), {"n": "2"}) == await in_thread(use)


async def test_deleting_a_missing_object_succeeds(gateway):
    """One or many."""
    client = gateway.client()

    def use():
        for key in "abc":
            client.put_object(Bucket="out", Key=key, Body=b"")
        client.delete_object(Bucket="out", Key="a")
        client.delete_object(Bucket="out", Key="a")
        several = {"Objects": [{"Key": "b"}, {"Key": "never was"}]}
        deleted = client.delete_objects(Bucket="out", Delete=several)["Deleted"]
        left = client.list_objects_v2(Bucket="out")["Contents"]
        return [each["Key"] for each in deleted], [each["Key"] for each in left]

    assert (["b", "never was"], ["c"]) == await in_thread(use)


async def test_more_than_1000_keys_are_malformed_xml(gateway):
    """And nothing is deleted."""
    client = gateway.client()
    many = {"Objects": [{"Key": str(number)} for number in range(1001)]}

    assert (400, "MalformedXML") == await in_thread(
        lambda: error_of(client.delete_objects, Bucket="out", Delete=many)
    )


@pytest.mark.parametrize("operation", ["get_object", "get_object_tagging", "get_object_acl"])
async def test_a_missing_object_has_no_version_null(gateway, operation):
    client = gateway.client()
    missing = {"Bucket": "out", "Key": "k", "VersionId": "null"}

    assert (404, "NoSuchVersion") == await in_thread(
        lambda: error_of(getattr(client, operation), **missing)
    )


async def test_tags_are_put_with_the_object_or_later_and_deleted(gateway):
    client = gateway.client()
    name = {"Bucket": "out", "Key": "k"}

    def tags():
        return client.get_object_tagging(**name)["TagSet"]

    def use():
        client.put_object(**name, Body=b"", Tagging="a=1&b=2")
        first = tags()
        client.put_object_tagging(**name, Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
        second = tags()
        client.delete_object_tagging(**name)
        return first, second, tags()

    assert (
        [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
        [{"Key": "c", "Value": "3"}],
        [],
    ) == await in_thread(use)


async def test_get_object_attributes_returns_the_requested_attributes(gateway):
    """The ETag has no quotes."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data", ChecksumAlgorithm="SHA1")
        return client.get_object_attributes(
            Bucket="out", Key="k", ObjectAttributes=["ETag", "ObjectSize", "Checksum"]
        )

    found = await in_thread(use)

    assert hashlib.md5(b"data").hexdigest() == found["ETag"]
    assert 4 == found["ObjectSize"]
    assert "ChecksumSHA1" in found["Checksum"]


async def test_requests_rejections_and_payload_bytes_are_counted_by_bucket(gateway):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"12345")
        client.get_object(Bucket="out", Key="k", Range="bytes=0-1")["Body"].read()
        error_of(client.get_object, Bucket="out", Key="none")
        error_of(client.put_object, Bucket="labresults", Key="k", Body=b"")
        client.get_object(Bucket="labresults", Key="a.txt")["Body"].read()

    await in_thread(use)

    assert {
        "labresults": BucketStatistics(reads=1, writes=1, refused=1, bytes_read=5, get_requests=1),
        "out": BucketStatistics(
            reads=2,
            writes=1,
            refused=1,
            bytes_read=2,
            bytes_written=5,
            get_requests=1,
            objects_written=1,
        ),
    } == gateway.statistics().buckets


async def test_every_way_to_write_or_read_an_object_counts_it(gateway):
    """Not what has no content: HEAD, a 304, a listing, a part, a deletion, a change of tags."""
    client = gateway.client()

    def use():
        etag = client.put_object(Bucket="out", Key="k", Body=b"1")["ETag"]
        client.copy_object(Bucket="out", Key="c", CopySource="out/k")
        upload = {"Bucket": "out", "Key": "m"}
        upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
        part = client.upload_part(**upload, PartNumber=1, Body=b"1")
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        client.get_object(Bucket="out", Key="m")["Body"].read()
        client.head_object(Bucket="out", Key="m")
        error_of(client.get_object, Bucket="out", Key="k", IfNoneMatch=etag)
        client.list_objects_v2(Bucket="out")
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        client.put_object_tagging(Bucket="out", Key="k", Tagging=tags)
        client.delete_object(Bucket="out", Key="k")

    await in_thread(use)

    out = gateway.statistics().buckets["out"]
    assert (1, 3) == (out.get_requests, out.objects_written)


async def test_a_frozen_output_denies_writes_and_serves_reads(gateway):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"1")
        gateway.index.freeze()
        answer = error_of(client.put_object, Bucket="out", Key="k", Body=b"2")
        return answer, client.get_object(Bucket="out", Key="k")["Body"].read()

    assert ((403, "AccessDenied"), b"1") == await in_thread(use)


@pytest.mark.parametrize(
    ("end", "expected", "exists"),
    [("start_epoch", b"HTTP/1.1 200 ", True), ("roll_back", b"<Code>AccessDenied</Code>", False)],
)
async def test_a_put_in_flight_shares_the_fate_of_its_try(gateway, end, expected, exists):
    """It began before the try ended, which succeeded or was rolled back."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            b"PUT /out/late HTTP/1.1\r\nhost: localhost\r\n"
            b"expect: 100-continue\r\nconnection: close\r\n"
            b"content-length: 4\r\n\r\nda"
        )
        # Another request of this process has been answered after this one has begun.
        await stream.receive_some()
        await gateway.send_request(
            b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        getattr(gateway.index, end)()
        await stream.send_all(b"ta")
        answer = b""
        async for data in stream:
            answer += data

    assert expected in answer
    assert exists == (gateway.index.get("late") is not None)


async def test_the_date_of_an_object_is_the_time_of_its_put(gateway):
    """In whole seconds."""
    client = gateway.client()

    def use():
        began = int(time.time())
        client.put_object(Bucket="out", Key="k", Body=b"")
        listed = client.list_objects_v2(Bucket="out")["Contents"][0]["LastModified"]
        assert 0 == listed.microsecond
        return began <= listed.timestamp() <= time.time()

    assert await in_thread(use)
