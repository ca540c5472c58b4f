"""The digests of a body, and their comparison with those in headers and trailers."""

import base64
import hashlib
import threading

import pytest
from builders import checksum_of
from s3.protocol_builders import a_request, an_upload, raises_s3_error

from worker.s3.checksums import ALGORITHMS
from worker.s3.digests import Digests
from worker.s3.payload import parse_payload

BODY = b"123456789" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
SHA1 = base64.b64encode(hashlib.sha1(BODY).digest()).decode()


def _digests(headers, *, upload=None, target="/out/k", method="PUT"):
    request = a_request(method, target, headers)
    return Digests.of_request(request, parse_payload(request), upload=upload)


def _updated(headers, **options):
    digests = _digests(headers, **options)
    digests.update(BODY[:1000])
    digests.update(memoryview(BODY)[1000:])
    return digests


def test_every_object_has_an_md5_a_sha256_and_a_checksum():
    """CRC64NVME by default."""
    digests = _updated({})
    digests.verify()

    assert hashlib.md5(BODY).hexdigest() == digests.etag
    assert hashlib.sha256(BODY).digest() == digests.sha256
    assert checksum_of("CRC64NVME", [BODY]) == digests.checksum
    assert len(BODY) == digests.size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_in_a_header_is_compared_and_stored(algorithm):
    value = checksum_of(algorithm, [BODY])
    headers = {
        f"x-amz-checksum-{algorithm.lower()}": value.value,
        "x-amz-sdk-checksum-algorithm": algorithm,
    }

    digests = _updated(headers)
    digests.verify()

    assert value == digests.checksum


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_in_a_trailer_is_compared_and_stored(algorithm):
    value = checksum_of(algorithm, [BODY])
    name = f"x-amz-checksum-{algorithm.lower()}"

    digests = _updated(_trailing(name))
    digests.verify({name: value.value})

    assert value == digests.checksum


@pytest.mark.parametrize("algorithm", [None, "CRC32", "CRC64NVME"])
def test_a_part_of_an_upload_without_an_algorithm_is_stored_with_crc64nvme(algorithm):
    """The response has only the checksum that the client sent."""
    sent = algorithm and checksum_of(algorithm, [BODY])
    headers = {f"x-amz-checksum-{algorithm.lower()}": sent.value} if sent else {}

    digests = _updated(headers, upload=an_upload())
    digests.verify()

    assert sent == digests.response_checksum
    assert checksum_of("CRC64NVME", [BODY]) == digests.checksum


def _trailing(name):
    return {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(BODY)),
        "x-amz-trailer": name,
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"content-md5": MD5[:-3] + "A=="}, "BadDigest", id="MD5"),
        pytest.param({"x-amz-content-sha256": "0" * 64}, "XAmzContentSHA256Mismatch", id="SHA256"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest", id="CRC32"),
        pytest.param({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, "BadDigest", id="CRC64NVME"),
    ],
)
def test_each_digest_that_does_not_match_has_its_error_code(headers, code):
    digests = _updated(headers)

    with raises_s3_error(code):
        digests.verify()


def test_a_payload_hash_mismatch_contains_both_digests():
    with raises_s3_error("XAmzContentSHA256Mismatch") as error:
        _updated({"x-amz-content-sha256": "ab" * 32}).verify()

    expected = {"ClientComputedContentSHA256": "ab" * 32, "S3ComputedContentSHA256": SHA256}
    assert expected == error().fields


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        pytest.param({}, "MalformedTrailerError", id="missing"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest", id="wrong value"),
        pytest.param({"x-amz-checksum-crc32": "?"}, "InvalidRequest", id="not Base64"),
        pytest.param({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest", id="too short"),
    ],
)
def test_an_announced_trailer_must_be_present_and_match(trailers, code):
    digests = _updated(_trailing("x-amz-checksum-crc32"))

    with raises_s3_error(code):
        digests.verify(trailers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"content-md5": ""}, "InvalidDigest", id="empty MD5"),
        pytest.param({"content-md5": "abc"}, "InvalidDigest", id="not Base64"),
        pytest.param({"content-md5": "YWJj"}, "InvalidDigest", id="MD5 of three bytes"),
        pytest.param({"x-amz-checksum-crc32": "abc"}, "InvalidRequest", id="malformed CRC"),
        pytest.param(
            {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "A"},
            "InvalidRequest",
            id="two checksums",
        ),
        pytest.param({"x-amz-checksum-md4": "AAAAAA=="}, "InvalidRequest", id="unknown checksum"),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "CRC32"},
            "InvalidRequest",
            id="algorithm without a checksum",
        ),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "MD4", "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="unknown algorithm",
        ),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="algorithm other than the checksum's",
        ),
        pytest.param(
            {**_trailing("x-amz-checksum-crc32"), "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="checksum in header and trailer",
        ),
    ],
)
def test_invalid_digest_headers_are_rejected_before_the_body(headers, code):
    with raises_s3_error(code):
        _digests(headers)


FULL = an_upload(algorithm="CRC32C", checksum_type="FULL_OBJECT")
COMPOSITE = an_upload(algorithm="CRC32C", checksum_type="COMPOSITE")


def test_a_part_without_a_checksum_has_the_algorithm_of_its_upload():
    digests = _updated({}, upload=FULL)

    assert checksum_of("CRC32C", [BODY]) == digests.checksum == digests.response_checksum


@pytest.mark.parametrize(
    ("upload", "headers", "actual"),
    [
        pytest.param(FULL, {"x-amz-checksum-sha1": SHA1}, "sha1", id="full object, other"),
        pytest.param(COMPOSITE, {"x-amz-checksum-sha1": SHA1}, "sha1", id="composite, other"),
        pytest.param(COMPOSITE, {}, "null", id="composite, none"),
    ],
)
def test_a_part_has_the_algorithm_of_its_upload(upload, headers, actual):
    """Of a composite checksum, each part has one in its request."""
    with raises_s3_error("InvalidRequest") as error:
        _digests(headers, upload=upload)

    assert error().message == (
        "Checksum Type mismatch occurred, expected checksum Type: crc32c, actual checksum Type: "
        + actual
    )


@pytest.mark.parametrize("name", ["algorithm", "mode", "type"])
def test_settings_of_checksums_are_ignored_where_they_do_not_belong(name):
    """As recorded from S3 for a PUT with x-amz-checksum-algorithm, also with an unknown value."""
    digests = _updated({f"x-amz-checksum-{name}": "TEST"})

    assert checksum_of("CRC64NVME", [BODY]) == digests.checksum


def test_the_checksum_of_a_completion_is_that_of_the_object():
    """Not that of the request body."""
    headers = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"}
    digests = _updated(headers, method="POST", target="/out/k?uploadId=1")

    digests.verify()


def test_the_md5_and_the_other_digests_are_independent():
    """Two threads may compute them."""
    digests = _digests({"content-md5": MD5, "x-amz-content-sha256": SHA256})

    def feed(update):
        for start in range(0, len(BODY), 100):
            update(BODY[start : start + 100])

    threads = [
        threading.Thread(target=feed, args=(update,))
        for update in (digests.update_md5, digests.update_others)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    digests.verify()
    assert len(BODY) == digests.size
