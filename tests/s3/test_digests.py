"""What is promised of a body, and what becomes of a promise that is not kept."""

import base64
import hashlib
import threading

import pytest
from s3.scene import a_request, refused

from worker.s3.checksums import ALGORITHMS, checksum_of
from worker.s3.payload import Digests, parse_payload

BODY = b"123456789" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()


def _digests(headers, *, algorithm=None, target="/out/k", method="PUT"):
    request = a_request(method, target, headers)
    return Digests.of_request(request, parse_payload(request), algorithm=algorithm)


def _fed(headers, **options):
    digests = _digests(headers, **options)
    digests.update(BODY[:1000])
    digests.update(memoryview(BODY)[1000:])
    return digests


def test_gives_what_is_stored():
    """Every object has an MD5, a SHA-256, and a CRC64NVME when the client names nothing else."""
    digests = _fed({})
    digests.verify()

    assert hashlib.md5(BODY).hexdigest() == digests.etag
    assert hashlib.sha256(BODY).digest() == digests.sha256
    assert checksum_of("CRC64NVME", [BODY]) == digests.checksum
    assert len(BODY) == digests.size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_takes_a_checksum_in_a_header(algorithm):
    """A checksum that the client sent is compared and stored."""
    value = checksum_of(algorithm, [BODY])
    headers = {
        f"x-amz-checksum-{algorithm.lower()}": value.value,
        "x-amz-sdk-checksum-algorithm": algorithm,
    }

    digests = _fed(headers)
    digests.verify()

    assert value == digests.checksum


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_takes_a_checksum_in_a_trailer(algorithm):
    """An announced checksum is computed on the way and compared with what came at the end."""
    value = checksum_of(algorithm, [BODY])
    name = f"x-amz-checksum-{algorithm.lower()}"

    digests = _fed(_trailing(name))
    digests.verify({name: value.value})

    assert value == digests.checksum


def test_stores_a_part_of_an_upload_without_algorithm_by_the_default():
    """SDKs send a checksum with each part of an upload that named none: compared and answered."""
    value = checksum_of("CRC32", [BODY])

    digests = _fed({"x-amz-checksum-crc32": value.value}, target="/out/k?partNumber=1&uploadId=u")
    digests.verify()

    assert value == digests.answered
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
def test_refuses_a_body_that_is_another(headers, code):
    """A digest that does not fit is told apart by which one it was."""
    digests = _fed(headers)

    with refused(code):
        digests.verify()


def test_tells_both_digests_of_a_body():
    """The error of a wrong payload hash gives the client's and ours to compare."""
    with refused("XAmzContentSHA256Mismatch") as error:
        _fed({"x-amz-content-sha256": "ab" * 32}).verify()

    expected = {"ClientComputedContentSHA256": "ab" * 32, "S3ComputedContentSHA256": SHA256}
    assert expected == error().fields


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        pytest.param({}, "MalformedTrailerError", id="none came"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest", id="a wrong one"),
        pytest.param({"x-amz-checksum-crc32": "?"}, "InvalidRequest", id="no base64"),
        pytest.param({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest", id="too short"),
    ],
)
def test_refuses_trailers(trailers, code):
    """A trailer that was announced must come and fit."""
    digests = _fed(_trailing("x-amz-checksum-crc32"))

    with refused(code):
        digests.verify(trailers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"content-md5": ""}, "InvalidDigest", id="an empty MD5"),
        pytest.param({"content-md5": "abc"}, "InvalidDigest", id="no base64"),
        pytest.param({"content-md5": "YWJj"}, "InvalidDigest", id="an MD5 of three bytes"),
        pytest.param({"x-amz-checksum-crc32": "abc"}, "InvalidRequest", id="a malformed CRC"),
        pytest.param(
            {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "A"},
            "InvalidRequest",
            id="two checksums",
        ),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest", id="announced, not sent"
        ),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "MD4", "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="an unknown algorithm",
        ),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="another algorithm than sent",
        ),
        pytest.param(
            {**_trailing("x-amz-checksum-crc32"), "x-amz-checksum-crc32": "AAAAAA=="},
            "InvalidRequest",
            id="in a header and in a trailer",
        ),
    ],
)
def test_refuses_headers_before_the_body(headers, code):
    """What cannot be right is refused before a byte of the body is read."""
    with refused(code):
        _digests(headers)


def test_takes_the_algorithm_of_the_upload():
    """A part without a checksum of its own gets the one its upload named."""
    digests = _fed({}, algorithm="CRC32C")

    assert checksum_of("CRC32C", [BODY]) == digests.checksum


def test_refuses_a_part_of_another_algorithm():
    """The parts of an upload all have the algorithm it was created with."""
    with refused("InvalidRequest"):
        _digests({"x-amz-checksum-crc32": "AAAAAA=="}, algorithm="SHA256")


def test_a_completion_states_the_checksum_of_the_object():
    """What CompleteMultipartUpload says is not about the list in its body."""
    headers = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"}
    digests = _fed(headers, method="POST", target="/out/k?uploadId=1")

    digests.verify()


def test_two_threads_may_share_the_work():
    """The MD5 and all the others are independent of each other."""
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
