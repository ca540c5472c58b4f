"""Completed uploads and their copies: checksums and conditions, as recorded from S3."""

import base64
import hashlib
import zlib

import pytest
from awscrt import checksums
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread

MIB = 1 << 20
PARTS = (b"a" * (5 * MIB), b"b" * 10)
WHOLE = b"".join(PARTS)
NAME = {"Bucket": "out", "Key": "k"}


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def crc64(data: bytes) -> str:
    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


def sha1(data: bytes) -> str:
    return base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def composite(value, *parts: bytes) -> str:
    return f"{value(b''.join(base64.b64decode(value(part)) for part in parts))}-{len(parts)}"


COMPOSITE = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "COMPOSITE"}
FULL = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
SHA1 = {"ChecksumAlgorithm": "SHA1"}
INVALID_PART, BAD_DIGEST, INVALID_REQUEST = "InvalidPart", "BadDigest", "InvalidRequest"


def uploaded(client, created, *, contents=PARTS):
    """Create an upload with parts; return its id and the list of its parts without checksums."""
    upload = client.create_multipart_upload(**NAME, **created)["UploadId"]
    algorithm = {name: value for name, value in created.items() if name == "ChecksumAlgorithm"}
    listed = []
    for number, data in enumerate(contents, start=1):
        put = client.upload_part(**NAME, UploadId=upload, PartNumber=number, Body=data, **algorithm)
        listed.append({"PartNumber": number, "ETag": put["ETag"]})
    return upload, listed


def completed(client, upload, listed, **more):
    return client.complete_multipart_upload(
        **NAME, UploadId=upload, MultipartUpload={"Parts": listed}, **more
    )


def with_checksums(listed, value, name, contents=PARTS):
    return [{**part, name: value(data)} for part, data in zip(listed, contents, strict=True)]


def wrong(data: bytes) -> str:
    return crc32(data + b"!")


@pytest.mark.parametrize(
    ("created", "part", "whole", "expected"),
    [
        pytest.param({}, (crc32, "ChecksumCRC32"), {}, INVALID_PART, id="none, a right part"),
        pytest.param({}, (wrong, "ChecksumCRC32"), {}, INVALID_PART, id="none, a wrong part"),
        pytest.param({}, (crc64, "ChecksumCRC64NVME"), {}, INVALID_PART, id="none, the stored one"),
        pytest.param({}, None, {"ChecksumType": "FULL_OBJECT"}, INVALID_REQUEST, id="none, a type"),
        pytest.param({}, None, {"ChecksumCRC64NVME": crc64(WHOLE)}, None, id="none, whole"),
        pytest.param({}, None, {"ChecksumCRC64NVME": crc64(b"")}, BAD_DIGEST, id="none, wrong"),
        pytest.param({}, None, {"ChecksumCRC32": wrong(b"")}, None, id="none, another"),
        pytest.param(COMPOSITE, None, {}, INVALID_REQUEST, id="composite, no parts"),
        pytest.param(COMPOSITE, (wrong, "ChecksumCRC32"), {}, INVALID_PART, id="composite, wrong"),
        pytest.param(COMPOSITE, (sha1, "ChecksumSHA1"), {}, BAD_DIGEST, id="composite, another"),
        pytest.param(COMPOSITE, (crc32, "ChecksumCRC32"), {}, None, id="composite"),
        pytest.param(
            COMPOSITE, (crc32, "ChecksumCRC32"), {"ChecksumCRC32": composite(crc32, *PARTS)}, None,
            id="composite, whole",
        ),
        pytest.param(
            COMPOSITE, (crc32, "ChecksumCRC32"),
            {"ChecksumCRC32": composite(crc32, *PARTS).removesuffix("-2")}, None,
            id="composite, without the number of parts",
        ),
        pytest.param(
            COMPOSITE, (crc32, "ChecksumCRC32"), {"ChecksumCRC32": crc32(WHOLE)}, BAD_DIGEST,
            id="composite, of the full object",
        ),
        pytest.param(
            COMPOSITE, (crc32, "ChecksumCRC32"), {"ChecksumType": "FULL_OBJECT"}, INVALID_REQUEST,
            id="composite, another type",
        ),
        pytest.param(FULL, None, {}, None, id="full"),
        pytest.param(FULL, (wrong, "ChecksumCRC32"), {}, INVALID_PART, id="full, wrong part"),
        pytest.param(
            FULL, None, {"ChecksumCRC32": crc32(WHOLE), "ChecksumType": "FULL_OBJECT"}, None,
            id="full, whole",
        ),
        pytest.param(FULL, None, {"ChecksumCRC32": crc32(WHOLE)}, BAD_DIGEST, id="full, no type"),
        pytest.param(
            FULL, None, {"ChecksumCRC32": wrong(WHOLE), "ChecksumType": "FULL_OBJECT"}, BAD_DIGEST,
            id="full, wrong",
        ),
        pytest.param(
            FULL, None, {"ChecksumCRC64NVME": crc64(WHOLE)}, BAD_DIGEST, id="full, another",
        ),
    ],
)  # fmt: skip
async def test_a_completion_has_only_checksums_of_its_upload(
    gateway, created, part, whole, expected
):
    """Whatever is wrong or does not belong to the upload is rejected, and the upload stays."""
    client = gateway.client()

    def use():
        upload, listed = uploaded(client, created)
        parts = with_checksums(listed, *part) if part else listed
        try:
            made = completed(client, upload, parts, **whole)
        except ClientError as error:
            assert [upload] == [each.id for each in gateway.index.uploads()]
            return error.response["Error"]["Code"], None
        return None, made.get("ChecksumCRC32") or made["ChecksumCRC64NVME"]

    code, value = await in_thread(use)

    assert expected == code
    if expected is None:
        whole_value = {
            None: crc64(WHOLE),
            "FULL_OBJECT": crc32(WHOLE),
            "COMPOSITE": composite(crc32, *PARTS),
        }
        assert whole_value[created.get("ChecksumType")] == value


async def test_an_upload_without_an_algorithm_shows_no_checksum_of_its_parts(gateway):
    """The CRC64NVME, from which that of the object is combined, is the gateway's own."""
    client = gateway.client()

    def use():
        upload, listed = uploaded(client, {})
        parts = client.list_parts(**NAME, UploadId=upload)["Parts"]
        client.put_object(Bucket="out", Key="source", Body=b"x")
        copied = client.upload_part_copy(
            **NAME, UploadId=upload, PartNumber=3, CopySource="out/source"
        )["CopyPartResult"]
        completed(client, upload, listed)
        part = client.get_object(**NAME, PartNumber=2, ChecksumMode="ENABLED")
        attributes = client.get_object_attributes(
            **NAME, ObjectAttributes=["ObjectParts", "Checksum"]
        )
        return parts, copied, part, attributes

    parts, copied, part, attributes = await in_thread(use)

    for found in (*parts, copied, part):
        assert [] == [name for name in found if name.startswith("Checksum")]
    assert 2 == part["PartsCount"]
    assert {"TotalPartsCount": 2} == attributes["ObjectParts"]
    assert crc64(WHOLE) == attributes["Checksum"]["ChecksumCRC64NVME"]


async def test_a_part_of_a_composite_checksum_has_its_own(gateway):
    client = gateway.client()

    def use():
        upload, listed = uploaded(client, COMPOSITE)
        completed(client, upload, with_checksums(listed, crc32, "ChecksumCRC32"))
        part = client.get_object(**NAME, PartNumber=2, ChecksumMode="ENABLED")
        found = client.get_object_attributes(**NAME, ObjectAttributes=["ObjectParts", "Checksum"])
        return part, found

    part, found = await in_thread(use)

    assert (crc32(PARTS[1]), "COMPOSITE") == (part["ChecksumCRC32"], part["ChecksumType"])
    assert composite(crc32, *PARTS).partition("-")[0] == found["Checksum"]["ChecksumCRC32"]
    assert [crc32(data) for data in PARTS] == [
        each["ChecksumCRC32"] for each in found["ObjectParts"]["Parts"]
    ]


@pytest.mark.parametrize(
    ("created", "asked", "expected"),
    [
        ({}, {}, {"ChecksumCRC64NVME": crc64(WHOLE)}),
        (COMPOSITE, {}, {"ChecksumCRC32": crc32(WHOLE)}),
        (COMPOSITE, {"ChecksumAlgorithm": "CRC32"}, {"ChecksumCRC32": crc32(WHOLE)}),
        (FULL, {"ChecksumAlgorithm": "CRC32"}, {"ChecksumCRC32": crc32(WHOLE)}),
        (FULL, SHA1, {"ChecksumSHA1": sha1(WHOLE)}),
        (SHA1, SHA1, {"ChecksumSHA1": sha1(WHOLE)}),
    ],
    ids=["none", "composite", "composite, asked", "full, asked", "another asked", "SHA asked"],
)  # fmt: skip
async def test_a_copy_of_a_multipart_object_is_one_object(gateway, created, asked, expected):
    """It has the checksum of the full object, and no parts; only its ETag tells their number."""
    client = gateway.client()

    def use():
        upload, listed = uploaded(client, created)
        name = f"Checksum{created.get('ChecksumAlgorithm', '')}"
        value = {"ChecksumCRC32": crc32, "ChecksumSHA1": sha1}.get(name)
        parts = with_checksums(listed, value, name) if value else listed
        etag = completed(client, upload, parts)["ETag"]
        copied = client.copy_object(Bucket="out", Key="copy", CopySource="out/k", **asked)
        attributes = client.get_object_attributes(
            Bucket="out", Key="copy", ObjectAttributes=["ObjectParts", "Checksum"]
        )
        part = client.head_object(Bucket="out", Key="copy", PartNumber=1)
        return etag, copied["CopyObjectResult"], attributes, part

    etag, copied, attributes, part = await in_thread(use)

    assert etag == copied["ETag"] == part["ETag"]
    full = {**expected, "ChecksumType": "FULL_OBJECT"}
    assert full == attributes["Checksum"] == {name: copied[name] for name in full}
    assert "ObjectParts" not in attributes
    assert "PartsCount" not in part
    assert len(WHOLE) == part["ContentLength"]


def conflict(client, upload, listed, **condition):
    """Complete with a condition; return the code of the error and what it names."""
    try:
        completed(client, upload, listed, **condition)
    except ClientError as error:
        found = error.response["Error"]
        if found["Code"] == "ConditionalRequestConflict":
            return found["Code"], found["Key"], found["Condition"]
        return found["Code"]
    return None


async def test_a_conditional_completion_is_refused_after_the_key_has_changed(gateway):
    """Also if the condition holds again, until a new upload is made."""
    client = gateway.client()

    def use():
        old = client.put_object(**NAME, Body=b"old")["ETag"]
        upload, listed = uploaded(client, {}, contents=(b"x",))
        codes = [conflict(client, upload, listed, IfNoneMatch="*")]
        client.delete_object(**NAME)
        codes.append(conflict(client, upload, listed, IfNoneMatch="*"))
        codes.append(conflict(client, upload, listed, IfNoneMatch="*"))
        codes.append(conflict(client, upload, listed, IfMatch=old))
        client.put_object(**NAME, Body=b"old")
        codes.append(conflict(client, upload, listed, IfMatch=old))
        client.put_object(Bucket="out", Key="other", Body=b"")
        restarted, listed = uploaded(client, {}, contents=(b"x",))
        client.delete_object(Bucket="out", Key="other")
        codes.append(conflict(client, restarted, listed, IfMatch=old))
        # Without a condition, the first one can still be completed.
        codes.append(conflict(client, upload, listed))
        return codes

    code = "ConditionalRequestConflict"
    assert [
        "PreconditionFailed",
        (code, "k", "If-None-Match"),
        (code, "k", "If-None-Match"),
        "NoSuchKey",
        (code, "k", "If-Match"),
        None,
        None,
    ] == await in_thread(use)


async def test_a_write_of_the_same_content_is_a_change_of_the_key(gateway):
    """Its ETag is the same, so that the condition itself holds."""
    client = gateway.client()

    def use():
        etag = client.put_object(**NAME, Body=b"same")["ETag"]
        upload, listed = uploaded(client, {}, contents=(b"x",))
        client.put_object(**NAME, Body=b"same")
        return conflict(client, upload, listed, IfMatch=etag)

    assert ("ConditionalRequestConflict", "k", "If-Match") == await in_thread(use)


async def test_an_unknown_upload_is_reported_before_a_malformed_document(gateway):
    client = gateway.client()

    def use():
        try:
            completed(client, "none", [])
        except ClientError as error:
            return error.response["Error"]
        return None

    found = await in_thread(use)
    assert ("NoSuchUpload", "none") == (found["Code"], found["UploadId"])


async def test_a_tagging_document_without_tags_removes_them(gateway):
    response = await gateway.send_request(
        b"PUT /out/t HTTP/1.1\r\nhost: localhost\r\nx-amz-tagging: a=1\r\ncontent-length: 0\r\n"
        b"connection: close\r\n\r\n"
    )
    assert response.startswith(b"HTTP/1.1 200 ")
    response = await gateway.send_request(
        b"PUT /out/t?tagging HTTP/1.1\r\nhost: localhost\r\n"
        b"content-length: 10\r\nconnection: close\r\n\r\n"
        b"<Tagging/>"
    )

    assert response.startswith(b"HTTP/1.1 200 ")
    assert {} == gateway.index.get("t").tags
