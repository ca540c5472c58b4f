"""Checksums: published values, checksums of multipart objects, and headers of uploads."""

import base64
import hashlib
import zlib

import pytest
from builders import checksum_of
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import a_request, raises_s3_error, vectors

from worker.model import CHECKSUM_SIZES, Checksum
from worker.s3.checksums import ALGORITHMS, combine, composite, upload_checksum

CRCS = ("CRC32", "CRC32C", "CRC64NVME")


@pytest.mark.parametrize(("algorithm", "text", "value"), vectors("checksums")["values"])
def test_each_algorithm_has_the_published_check_value(algorithm, text, value):
    assert Checksum(algorithm, value) == checksum_of(algorithm, [text.encode()])


@pytest.mark.parametrize("algorithm", CRCS)
@given(pieces=st.lists(st.binary(max_size=50), max_size=6))
def test_crcs_of_parts_combine_to_the_crc_of_the_object(algorithm, pieces):
    parts = [(checksum_of(algorithm, [piece]).value, len(piece)) for piece in pieces]

    assert checksum_of(algorithm, pieces) == combine(algorithm, parts)


@pytest.mark.parametrize("algorithm", CRCS)
def test_crcs_of_parts_of_megabytes_combine(algorithm):
    """Of different lengths."""
    pieces = [bytes(5 * 2**20), b"x" * 3_000_001, b"end"]
    parts = [(checksum_of(algorithm, [piece]).value, len(piece)) for piece in pieces]

    assert checksum_of(algorithm, pieces) == combine(algorithm, parts)


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - set(CRCS)))
def test_only_crcs_can_be_combined(algorithm):
    """The other checksums of multipart objects are composite."""
    assert ALGORITHMS[algorithm].types == ("COMPOSITE",)
    with pytest.raises(ValueError, match=algorithm):
        combine(algorithm, [])


def test_a_composite_checksum_is_the_digest_of_the_digests():
    parts = [b"a", b"b", b"c"]
    shas = b"".join(hashlib.sha256(part).digest() for part in parts)
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    of_shas = base64.b64encode(hashlib.sha256(shas).digest()).decode()
    of_crcs = base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode()

    assert Checksum("SHA256", f"{of_shas}-3", "COMPOSITE") == _composite("SHA256", parts)
    assert Checksum("CRC32", f"{of_crcs}-3", "COMPOSITE") == _composite("CRC32", parts)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_takes_pieces_of_any_kind(algorithm):
    """The digest may be asked for more than once."""
    running = ALGORITHMS[algorithm].new()
    for piece in (b"1234", memoryview(b"567"), b"", memoryview(bytearray(b"89"))):
        running.update(piece)

    first = running.digest()

    assert checksum_of(algorithm, [b"123456789"]).value == base64.b64encode(first).decode()
    assert first == running.digest()
    assert ALGORITHMS[algorithm].size == len(first)


def _composite(algorithm, parts):
    return composite(algorithm, [checksum_of(algorithm, [part]).value for part in parts])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"x-amz-checksum-algorithm": "crc32"}, ("CRC32", "COMPOSITE")),
        ({"x-amz-checksum-algorithm": "CRC64NVME"}, ("CRC64NVME", "FULL_OBJECT")),
        ({"x-amz-checksum-algorithm": "XXHASH3"}, ("XXHASH3", "COMPOSITE")),
        (
            {"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT"},
            ("CRC32C", "FULL_OBJECT"),
        ),
    ],
    ids=["none", "CRC32", "CRC64NVME", "XXHASH3", "CRC32C of the full object"],
)
def test_an_upload_has_an_algorithm_and_its_default_type(headers, expected):
    assert expected == upload_checksum(a_request("POST", "/out/k?uploads", headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD4"},
        {"x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"},
        {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "SHA512", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
    ],
    ids=[
        "unknown algorithm",
        "type without an algorithm",
        "unknown type",
        "SHA1 of the full object",
        "SHA512 of the full object",
        "composite CRC64NVME",
    ],
)
def test_an_invalid_algorithm_or_type_of_an_upload_is_rejected(headers):
    with raises_s3_error("InvalidRequest"):
        upload_checksum(a_request("POST", "/out/k?uploads", headers))


def test_every_algorithm_has_a_size_and_values_of_that_size():
    assert list(CHECKSUM_SIZES) == list(ALGORITHMS)
    assert CHECKSUM_SIZES == {name: len(each.new().digest()) for name, each in ALGORITHMS.items()}
