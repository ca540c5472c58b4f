"""Multipart uploads over HTTP, as boto3 makes them."""

import hashlib
import io
from base64 import b64encode

import pytest
from awscrt import checksums
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread

MIB = 1 << 20
NAME = {"Bucket": "out", "Key": "k"}
LARGE = bytes(range(256)) * 4096 * 12 + b"end"
CONFIG = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)


def code(call, **arguments):
    """Return the code of the error that a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def begun(client, *parts, **arguments):
    """Begin an upload with these parts; return its id and what a completion lists."""
    algorithm = {k: v for k, v in arguments.items() if k == "ChecksumAlgorithm"}
    upload = client.create_multipart_upload(**NAME, **arguments)["UploadId"]
    listed = []
    for number, data in enumerate(parts, start=1):
        put = client.upload_part(**NAME, UploadId=upload, PartNumber=number, Body=data, **algorithm)
        listed.append(
            {"PartNumber": number, "ETag": put["ETag"]}
            | {name: value for name, value in put.items() if name.startswith("ChecksumC")}
        )
    return upload, {"Parts": listed}


async def test_a_transfer_in_parts_is_one_object(gateway):
    """boto3's transfer manager puts and gets an object in parts, with metadata."""
    client = gateway.client()

    def use():
        client.upload_fileobj(
            io.BytesIO(LARGE), "out", "k", ExtraArgs={"Metadata": {"n": "1"}}, Config=CONFIG
        )
        sink = io.BytesIO()
        client.download_fileobj("out", "k", sink, Config=CONFIG)
        head = client.head_object(**NAME)
        return sink.getvalue() == LARGE, head["ETag"][-3:], head["Metadata"]

    assert (True, '-3"', {"n": "1"}) == await in_thread(use)


async def test_completion_moves_no_byte(gateway):
    """The object's extents are those of its parts, in order."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"a" * 5 * MIB, b"b")
        parts = gateway.index.parts("k", upload)
        client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        return [extent for part in parts for extent in part.extents]

    extents = await in_thread(use)

    assert tuple(extents) == gateway.index.get("k").extents


async def test_an_upload_is_an_object_only_when_it_is_complete(gateway):
    """Before its completion there is nothing to read or list."""
    client = gateway.client()

    def use():
        begun(client, b"data")
        return code(client.get_object, **NAME), client.list_objects_v2(Bucket="out")["KeyCount"]

    assert ("NoSuchKey", 0) == await in_thread(use)


async def test_completion_is_answered_again(gateway):
    """Asked twice, as a client that lost the answer does, it says the same."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"data")
        again = [
            client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
            for _ in range(2)
        ]
        return [each["ETag"] for each in again]

    first, second = await in_thread(use)

    assert first == second


BAD = {
    "order": (lambda parts: parts[::-1], "InvalidPartOrder"),
    "missing": (lambda parts: [*parts, {"PartNumber": 9, "ETag": '"0"'}], "InvalidPart"),
    "other tag": (lambda parts: [{**parts[0], "ETag": '"0"'}, parts[1]], "InvalidPart"),
    "empty": (lambda _parts: [], "MalformedXML"),
}


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
async def test_a_completion_that_is_wrong_leaves_the_upload(gateway, change, expected):
    """It is refused by its code, and the right one still succeeds."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"a" * 5 * MIB, b"b")
        name = {**NAME, "UploadId": upload}
        wrong = {"Parts": change(listed["Parts"])}
        answer = code(client.complete_multipart_upload, **name, MultipartUpload=wrong)
        client.complete_multipart_upload(**name, MultipartUpload=listed)
        return answer

    assert expected == await in_thread(use)


async def test_a_small_part_that_is_not_the_last_is_refused(gateway):
    """EntityTooSmall, as in S3."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"a", b"b")
        return code(
            client.complete_multipart_upload, **NAME, UploadId=upload, MultipartUpload=listed
        )

    assert "EntityTooSmall" == await in_thread(use)


async def test_completion_holds_to_its_condition(gateway):
    """`If-None-Match: *` fails where something is by then, and the upload lives on."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"data")
        name = {**NAME, "UploadId": upload}
        client.put_object(**NAME, Body=b"first")
        call = client.complete_multipart_upload
        answer = code(call, **name, MultipartUpload=listed, IfNoneMatch="*")
        return answer, len(client.list_parts(**name)["Parts"])

    assert ("PreconditionFailed", 1) == await in_thread(use)


async def test_an_upload_that_never_was_is_no_such_upload(gateway):
    """Parts, completion, abort and listing all say so."""
    client = gateway.client()
    name = {**NAME, "UploadId": "nonsense"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}

    def use():
        return {
            code(client.upload_part, **name, PartNumber=1, Body=b""),
            code(client.complete_multipart_upload, **name, MultipartUpload=parts),
            code(client.abort_multipart_upload, **name),
            code(client.list_parts, **name),
        }

    assert {"NoSuchUpload"} == await in_thread(use)


async def test_an_aborted_upload_is_gone(gateway):
    """Nothing of it is listed, and it takes no more parts."""
    client = gateway.client()

    def use():
        upload, _listed = begun(client, b"data")
        name = {**NAME, "UploadId": upload}
        client.abort_multipart_upload(**name)
        listed = client.list_multipart_uploads(Bucket="out").get("Uploads", [])
        return listed, code(client.upload_part, **name, PartNumber=1, Body=b"")

    assert ([], "NoSuchUpload") == await in_thread(use)


async def test_uploads_and_parts_are_listed_page_by_page(gateway):
    """Every upload and every part comes once, in order."""
    client = gateway.client()

    def use():
        upload, _listed = begun(client, b"1", b"2", b"3")
        for key in ("a/1", "a/2", "b"):
            client.create_multipart_upload(Bucket="out", Key=key)
        pages = client.get_paginator("list_parts").paginate(
            **NAME, UploadId=upload, PaginationConfig={"PageSize": 2}
        )
        numbers = [part["PartNumber"] for page in pages for part in page["Parts"]]
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket="out", PaginationConfig={"PageSize": 1}
        )
        keys = [each["Key"] for page in pages for each in page.get("Uploads", [])]
        folded = client.list_multipart_uploads(Bucket="out", Delimiter="/")["CommonPrefixes"]
        return numbers, keys, folded

    assert ([1, 2, 3], ["a/1", "a/2", "b", "k"], [{"Prefix": "a/"}]) == await in_thread(use)


async def test_a_part_can_be_read_by_its_number(gateway):
    """`partNumber` gives that part, how many there are, and the ETag of the whole."""
    client = gateway.client()

    def use():
        upload, listed = begun(client, b"a" * 5 * MIB, b"b")
        made = client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        got = client.get_object(**NAME, PartNumber=2)
        return got["Body"].read(), got["PartsCount"], got["ETag"] == made["ETag"]

    assert (b"b", 2, True) == await in_thread(use)


async def test_a_part_copied_from_a_range_holds_that_range(gateway):
    """UploadPartCopy takes the bytes it was asked for, with their MD5 as the part's ETag."""
    client = gateway.client()

    def use():
        upload, _listed = begun(client)
        name = {**NAME, "UploadId": upload}
        client.put_object(Bucket="out", Key="source", Body=LARGE)
        copied = [
            client.upload_part_copy(
                **name,
                PartNumber=number,
                CopySource="out/source",
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )["CopyPartResult"]["ETag"]
            for number, (start, stop) in enumerate([(1, 6 * MIB), (0, 3)], start=1)
        ]
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(copied, start=1)]
        client.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})
        whole = client.get_object(**NAME)["Body"].read()
        return copied[1], whole == LARGE[1 : 6 * MIB] + LARGE[:3]

    assert (f'"{hashlib.md5(LARGE[:3]).hexdigest()}"', True) == await in_thread(use)


@pytest.mark.parametrize("wanted", ["bytes=0-99", "bytes=-5", "0-5", "bytes=3-"])
async def test_a_range_that_a_source_does_not_have_is_refused(gateway, wanted):
    """The range of a part copy is strict, and never clamped."""
    client = gateway.client()

    def use():
        upload, _listed = begun(client)
        return code(
            client.upload_part_copy,
            **NAME,
            UploadId=upload,
            PartNumber=1,
            CopySource="labresults/a.txt",
            CopySourceRange=wanted,
        )

    assert await in_thread(use) in ("InvalidRange", "InvalidArgument")


async def test_checksums_of_a_whole_follow_from_its_parts(gateway):
    """A full-object CRC of an upload in parts is the CRC of its bytes."""
    client = gateway.client()
    data = (b"a" * 5 * MIB, b"b")

    def use():
        upload, listed = begun(
            client, *data, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )
        made = client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        head = client.head_object(**NAME, ChecksumMode="ENABLED")
        return made["ChecksumCRC64NVME"], head["ChecksumCRC64NVME"], head["ChecksumType"]

    crc = checksums.crc64nvme(b"".join(data)).to_bytes(8, "big")
    expected = b64encode(crc).decode()

    assert (expected, expected, "FULL_OBJECT") == await in_thread(use)


async def test_a_part_replaces_an_earlier_one_of_its_number(gateway):
    """The last part that was put under a number is the one that counts."""
    client = gateway.client()

    def use():
        upload, _listed = begun(client, b"first")
        name = {**NAME, "UploadId": upload}
        put = client.upload_part(**name, PartNumber=1, Body=b"second")
        parts = {"Parts": [{"PartNumber": 1, "ETag": put["ETag"]}]}
        client.complete_multipart_upload(**name, MultipartUpload=parts)
        return client.get_object(**NAME)["Body"].read()

    assert b"second" == await in_thread(use)
