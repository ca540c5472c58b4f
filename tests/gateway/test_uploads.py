"""Multipart uploads over HTTP, with boto3."""

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


def error_code_of(call, **arguments):
    """Return the error_code_of of the error of a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def create_upload(client, *parts, **arguments):
    """Create an upload with parts; return its id and the body of its completion."""
    algorithm = {k: v for k, v in arguments.items() if k == "ChecksumAlgorithm"}
    upload = client.create_multipart_upload(**NAME, **arguments)["UploadId"]
    listed = []
    for number, data in enumerate(parts, start=1):
        put = client.upload_part(**NAME, UploadId=upload, PartNumber=number, Body=data, **algorithm)
        listed.append(
            {"PartNumber": number, "ETag": put["ETag"]}
            | {name: value for name, value in put.items() if algorithm and "Checksum" in name}
        )
    return upload, {"Parts": listed}


async def test_boto3_transfers_an_object_in_parts(gateway):
    """With metadata."""
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


async def test_a_completed_object_has_the_extents_of_its_parts(gateway):
    """No payload is copied."""
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"a" * 5 * MIB, b"b")
        parts = gateway.index.parts("k", upload)
        client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        return [extent for part in parts for extent in part.extents]

    extents = await in_thread(use)

    assert tuple(extents) == gateway.index.get("k").extents


async def test_an_upload_is_not_visible_before_its_completion(gateway):
    client = gateway.client()

    def use():
        create_upload(client, b"data")
        return error_code_of(client.get_object, **NAME), client.list_objects_v2(Bucket="out")[
            "KeyCount"
        ]

    assert ("NoSuchKey", 0) == await in_thread(use)


async def test_completion_is_idempotent(gateway):
    """A client may have lost the response."""
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"data")
        again = [
            client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
            for _ in range(2)
        ]
        return [each["ETag"] for each in again]

    first, second = await in_thread(use)

    assert first == second


async def test_an_upload_is_not_completed_again_with_other_parts(gateway):
    """As in S3, where the upload is then unknown."""
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"data")
        client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        other = {"Parts": [{**listed["Parts"][0], "ETag": '"%s"' % ("0" * 32)}]}
        return error_code_of(
            client.complete_multipart_upload, **NAME, UploadId=upload, MultipartUpload=other
        )

    assert "NoSuchUpload" == await in_thread(use)


BAD = {
    "order": (lambda parts: parts[::-1], "InvalidPartOrder"),
    "missing": (lambda parts: [*parts, {"PartNumber": 9, "ETag": '"0"'}], "InvalidPart"),
    "other tag": (lambda parts: [{**parts[0], "ETag": '"0"'}, parts[1]], "InvalidPart"),
    "empty": (lambda _parts: [], "MalformedXML"),
    "checksum": (
        lambda parts: [{**parts[0], "ChecksumCRC32": "AAAAAA=="}, parts[1]],
        "InvalidPart",
    ),
}


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
async def test_a_rejected_completion_keeps_the_upload(gateway, change, expected):
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"a" * 5 * MIB, b"b")
        name = {**NAME, "UploadId": upload}
        wrong = {"Parts": change(listed["Parts"])}
        answer = error_code_of(client.complete_multipart_upload, **name, MultipartUpload=wrong)
        client.complete_multipart_upload(**name, MultipartUpload=listed)
        return answer

    assert expected == await in_thread(use)


async def test_a_small_part_before_the_last_is_entity_too_small(gateway):
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"a", b"b")
        return error_code_of(
            client.complete_multipart_upload, **NAME, UploadId=upload, MultipartUpload=listed
        )

    assert "EntityTooSmall" == await in_thread(use)


async def test_a_completion_whose_condition_fails_keeps_the_upload(gateway):
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"data")
        name = {**NAME, "UploadId": upload}
        client.put_object(**NAME, Body=b"first")
        call = client.complete_multipart_upload
        answer = error_code_of(call, **name, MultipartUpload=listed, IfNoneMatch="*")
        return answer, len(client.list_parts(**name)["Parts"])

    assert ("PreconditionFailed", 1) == await in_thread(use)


async def test_an_unknown_upload_is_no_such_upload(gateway):
    """For parts, completion, abort and ListParts."""
    client = gateway.client()
    name = {**NAME, "UploadId": "nonsense"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}

    def use():
        return {
            error_code_of(client.upload_part, **name, PartNumber=1, Body=b""),
            error_code_of(client.complete_multipart_upload, **name, MultipartUpload=parts),
            error_code_of(client.abort_multipart_upload, **name),
            error_code_of(client.list_parts, **name),
        }

    assert {"NoSuchUpload"} == await in_thread(use)


async def test_an_aborted_upload_is_no_such_upload(gateway):
    """It is not listed, and accepts no parts."""
    client = gateway.client()

    def use():
        upload, _listed = create_upload(client, b"data")
        name = {**NAME, "UploadId": upload}
        client.abort_multipart_upload(**name)
        listed = client.list_multipart_uploads(Bucket="out").get("Uploads", [])
        return listed, error_code_of(client.upload_part, **name, PartNumber=1, Body=b"")

    assert ([], "NoSuchUpload") == await in_thread(use)


async def test_pages_of_uploads_and_parts_have_each_once_in_order(gateway):
    client = gateway.client()

    def use():
        upload, _listed = create_upload(client, b"1", b"2", b"3")
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


async def test_a_part_is_read_by_its_number(gateway):
    """With the number of parts, and the ETag of the object."""
    client = gateway.client()

    def use():
        upload, listed = create_upload(client, b"a" * 5 * MIB, b"b")
        made = client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        got = client.get_object(**NAME, PartNumber=2)
        return got["Body"].read(), got["PartsCount"], got["ETag"] == made["ETag"]

    assert (b"b", 2, True) == await in_thread(use)


async def test_a_copied_range_is_a_part_with_the_md5_of_its_bytes(gateway):
    client = gateway.client()

    def use():
        upload, _listed = create_upload(client)
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
async def test_a_copy_range_beyond_its_source_is_rejected(gateway, wanted):
    client = gateway.client()

    def use():
        upload, _listed = create_upload(client)
        return error_code_of(
            client.upload_part_copy,
            **NAME,
            UploadId=upload,
            PartNumber=1,
            CopySource="labresults/a.txt",
            CopySourceRange=wanted,
        )

    assert await in_thread(use) in ("InvalidRange", "InvalidArgument")


async def test_a_full_object_crc_is_that_of_all_bytes(gateway):
    client = gateway.client()
    data = (b"a" * 5 * MIB, b"b")

    def use():
        upload, listed = create_upload(
            client, *data, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )
        made = client.complete_multipart_upload(**NAME, UploadId=upload, MultipartUpload=listed)
        head = client.head_object(**NAME, ChecksumMode="ENABLED")
        return made["ChecksumCRC64NVME"], head["ChecksumCRC64NVME"], head["ChecksumType"]

    crc = checksums.crc64nvme(b"".join(data)).to_bytes(8, "big")
    expected = b64encode(crc).decode()

    assert (expected, expected, "FULL_OBJECT") == await in_thread(use)


async def test_a_part_replaces_an_earlier_one_with_its_number(gateway):
    client = gateway.client()

    def use():
        upload, _listed = create_upload(client, b"first")
        name = {**NAME, "UploadId": upload}
        put = client.upload_part(**name, PartNumber=1, Body=b"second")
        parts = {"Parts": [{"PartNumber": 1, "ETag": put["ETag"]}]}
        client.complete_multipart_upload(**name, MultipartUpload=parts)
        return client.get_object(**NAME)["Body"].read()

    assert b"second" == await in_thread(use)
