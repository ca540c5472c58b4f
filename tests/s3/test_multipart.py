"""The validation of a completion, and the object that it creates."""

import base64
import hashlib

import pytest
from builders import checksum_of
from s3.protocol_builders import a_part, a_request, an_upload, raises_s3_error

from worker.model import Checksum
from worker.s3.multipart import MIN_PART, ListedPart, complete, etag_of, part_number, upload_id

BIG = b"a" * MIN_PART
CONTENTS = {1: BIG, 4: BIG, 9: b"end"}


def _parts(algorithm="CRC64NVME"):
    return {
        number: a_part(
            number,
            len(content),
            hashlib.md5(content).hexdigest(),
            checksum=checksum_of(algorithm, [content]),
        )
        for number, content in CONTENTS.items()
    }


def _listed(uploaded, numbers=(1, 4, 9), *, with_checksums=False):
    return [
        ListedPart(
            number,
            uploaded[number].etag,
            {uploaded[number].checksum.algorithm: uploaded[number].checksum.value}
            if with_checksums
            else {},
        )
        for number in numbers
    ]


def _complete(listed, uploaded, upload=None, headers=None):
    request = a_request("POST", "/out/key?uploadId=upload", headers)
    return complete(listed, uploaded, upload or an_upload(), request)


def test_size_etag_and_checksum_follow_from_the_listed_parts():
    """No payload is read."""
    uploaded = _parts()
    md5s = b"".join(hashlib.md5(content).digest() for content in CONTENTS.values())

    found = _complete(_listed(uploaded), uploaded)

    assert tuple(uploaded.values()) == found.parts
    assert 2 * MIN_PART + 3 == found.size
    assert f"{hashlib.md5(md5s).hexdigest()}-3" == found.etag
    assert checksum_of("CRC64NVME", CONTENTS.values()) == found.checksum


def test_parts_that_are_not_listed_are_dropped():
    uploaded = _parts()

    found = _complete(_listed(uploaded, (1, 9)), uploaded)

    assert MIN_PART + 3 == found.size
    assert found.etag.endswith("-2")


def test_the_last_part_may_have_any_size():
    """Also 0 bytes."""
    uploaded = {1: a_part(1, 0, checksum=checksum_of("CRC64NVME", []))}

    found = _complete([ListedPart(1, uploaded[1].etag)], uploaded)

    assert (0, etag_of([uploaded[1].etag])) == (found.size, found.etag)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_a_composite_upload_has_the_checksum_of_its_parts_checksums(algorithm):
    uploaded = _parts(algorithm)
    digests = b"".join(base64.b64decode(part.checksum.value) for part in uploaded.values())
    upload = an_upload(algorithm=algorithm, checksum_type="COMPOSITE")

    found = _complete(_listed(uploaded, with_checksums=True), uploaded, upload)

    value = checksum_of(algorithm, [digests]).value
    assert Checksum(algorithm, f"{value}-3", "COMPOSITE") == found.checksum


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_a_full_object_upload_has_the_crc_of_all_bytes(algorithm):
    uploaded = _parts(algorithm)
    upload = an_upload(algorithm=algorithm, checksum_type="FULL_OBJECT")

    found = _complete(_listed(uploaded), uploaded, upload)

    assert checksum_of(algorithm, CONTENTS.values()) == found.checksum


UPLOADED = _parts()
CRC32 = _parts("CRC32")
COMPOSITE = an_upload(algorithm="CRC32", checksum_type="COMPOSITE")
SMALL = {1: a_part(1, 5, checksum=UPLOADED[9].checksum), 9: UPLOADED[9]}


@pytest.mark.parametrize(
    ("listed", "uploaded", "upload", "headers", "code"),
    [
        pytest.param(
            [ListedPart(2, "0" * 32)], UPLOADED, None, {}, "InvalidPart", id="part not uploaded"
        ),
        pytest.param([ListedPart(1, "0" * 32)], UPLOADED, None, {}, "InvalidPart", id="other ETag"),
        pytest.param(
            [ListedPart(1, UPLOADED[1].etag, {"CRC64NVME": "AAAAAAAAAAA="})],
            UPLOADED,
            None,
            {},
            "InvalidPart",
            id="other checksum",
        ),
        pytest.param(
            _listed(UPLOADED, (4, 1)),
            UPLOADED,
            None,
            {},
            "InvalidPartOrder",
            id="descending numbers",
        ),
        pytest.param(
            _listed(UPLOADED, (1, 1)), UPLOADED, None, {}, "InvalidPartOrder", id="duplicate number"
        ),
        pytest.param(
            [ListedPart(1, SMALL[1].etag), ListedPart(9, SMALL[9].etag)],
            SMALL,
            None,
            {},
            "EntityTooSmall",
            id="small part before the last",
        ),
        pytest.param(
            _listed(UPLOADED),
            UPLOADED,
            None,
            {"x-amz-mp-object-size": "5"},
            "InvalidRequest",
            id="other size",
        ),
        pytest.param(
            _listed(UPLOADED),
            UPLOADED,
            None,
            {"x-amz-mp-object-size": "five"},
            "InvalidRequest",
            id="invalid size",
        ),
        pytest.param(
            _listed(UPLOADED),
            UPLOADED,
            None,
            {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="},
            "BadDigest",
            id="other checksum of the object",
        ),
        pytest.param(
            _listed(UPLOADED),
            UPLOADED,
            None,
            {"x-amz-checksum-type": "COMPOSITE"},
            "InvalidRequest",
            id="other checksum type",
        ),
        pytest.param(
            _listed(CRC32),
            CRC32,
            COMPOSITE,
            {},
            "InvalidRequest",
            id="missing checksums of the parts",
        ),
        pytest.param(
            _listed(UPLOADED),
            UPLOADED,
            COMPOSITE,
            {},
            "InvalidRequest",
            id="parts with another algorithm",
        ),
    ],
)
def test_an_invalid_completion_is_rejected(listed, uploaded, upload, headers, code):
    with raises_s3_error(code):
        _complete(listed, uploaded, upload, headers)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(
            {"x-amz-mp-object-size": "five"},
            "Value for x-amz-mp-object-size header is invalid: 'five'",
            id="size not a number",
        ),
        pytest.param(
            {"x-amz-mp-object-size": "-1"},
            "Value for x-amz-mp-object-size header is less than zero: '-1'",
            id="negative size",
        ),
        pytest.param(
            {"x-amz-checksum-type": "HALF"},
            "Value for x-amz-checksum-type header is invalid.",
            id="unknown type",
        ),
        pytest.param(
            {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "A"},
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            id="two checksums",
        ),
        pytest.param(
            {"x-amz-checksum-md4": "AAAAAA=="},
            "The algorithm type you specified in x-amz-checksum- header is invalid.",
            id="unknown algorithm",
        ),
        *(
            pytest.param(
                {f"x-amz-checksum-{name}": value},
                f"Value for x-amz-checksum-{name} header is invalid.",
                id=f"{name} {value}",
            )
            for name, value in (
                ("crc32", "invalid"),
                ("crc32", "AAAAAA==-smth"),
                ("crc32", "AAAAAA==-1-2"),
                ("sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=--3"),
                ("crc64nvme", "AAAAAAAAAAA=-1"),
                ("xxhash128", "AAAAAA==-1"),
            )
        ),
    ],
)
@pytest.mark.parametrize("upload", [None, COMPOSITE], ids=["no algorithm", "composite"])
def test_malformed_headers_of_a_completion_are_reported_first(upload, headers, message):
    """Before errors of the list of parts, and whatever the upload's algorithm is."""
    with raises_s3_error("InvalidRequest") as error:
        _complete([ListedPart(7, "unknown")], UPLOADED, upload, headers)

    assert message == error().message


def test_another_checksum_type_is_reported_before_missing_checksums_of_the_parts():
    """A composite upload, completed as a full object without the checksums of its parts."""
    headers = {"x-amz-checksum-type": "FULL_OBJECT"}
    with raises_s3_error("InvalidRequest") as error:
        _complete(_listed(CRC32), CRC32, COMPOSITE, headers)

    assert "was created using the COMPOSITE checksum mode" in error().message


def test_invalid_part_names_upload_number_and_etag():
    with raises_s3_error("InvalidPart") as error:
        _complete([ListedPart(2, "abc")], UPLOADED)

    assert {"UploadId": "upload", "PartNumber": "2", "ETag": "abc"} == error().fields


def test_an_invalid_order_names_the_upload():
    with raises_s3_error("InvalidPartOrder") as error:
        _complete(_listed(UPLOADED, (4, 1)), UPLOADED)

    assert {"UploadId": "upload"} == error().fields


def test_a_size_and_checksum_of_the_object_are_compared():
    uploaded = _parts()
    value = checksum_of("CRC64NVME", CONTENTS.values()).value
    headers = {
        "x-amz-mp-object-size": str(2 * MIN_PART + 3),
        "x-amz-checksum-crc64nvme": value,
    }

    assert value == _complete(_listed(uploaded), uploaded, headers=headers).checksum.value


def test_upload_ids_sort_by_time():
    ids = [upload_id(now, bytes(range(18))) for now in (0, 1, 255, 256, 1_700_000_000_000)]

    assert sorted(ids) == ids
    assert all(each.isalnum() for each in ids)


@pytest.mark.parametrize("value", ["0", "10001", "-1", "1.5", "x", "", "9" * 30, "²"])
def test_part_numbers_beyond_1_to_10000_are_rejected(value):
    with raises_s3_error("InvalidArgument"):
        part_number(a_request("PUT", f"/out/k?uploadId=1&partNumber={value}"))


@pytest.mark.parametrize("value", ["1", "10000", "007"])
def test_part_numbers_1_and_10000_are_valid(value):
    assert int(value) == part_number(a_request("PUT", f"/out/k?partNumber={value}"))
