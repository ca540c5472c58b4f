"""Checksums: known values, wholes made from parts, and what clients may say of them."""

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.scene import a_request, refused, vectors

from worker.model import Checksum
from worker.s3.checksums import ALGORITHMS, checksum_of, combine, composite, upload_checksum

CRCS = ("CRC32", "CRC32C", "CRC64NVME")


@pytest.mark.parametrize(("algorithm", "text", "value"), vectors("checksums")["values"])
def test_computes_the_published_values(algorithm, text, value):
    """Each algorithm gives the check value of its catalogue."""
    assert Checksum(algorithm, value) == checksum_of(algorithm, [text.encode()])


@pytest.mark.parametrize("algorithm", CRCS)
@given(pieces=st.lists(st.binary(max_size=50), max_size=6))
def test_combines_the_crcs_of_parts(algorithm, pieces):
    """The CRC of a whole follows from those of its parts and their lengths."""
    parts = [(checksum_of(algorithm, [piece]).value, len(piece)) for piece in pieces]

    assert checksum_of(algorithm, pieces) == combine(algorithm, parts)


@pytest.mark.parametrize("algorithm", CRCS)
def test_combines_parts_of_the_size_of_real_ones(algorithm):
    """Also of parts of megabytes, and of different lengths."""
    pieces = [bytes(5 * 2**20), b"x" * 3_000_001, b"end"]
    parts = [(checksum_of(algorithm, [piece]).value, len(piece)) for piece in pieces]

    assert checksum_of(algorithm, pieces) == combine(algorithm, parts)


def test_a_sha_of_a_whole_cannot_be_combined():
    """SHA-1 and SHA-256 of multipart objects are composite."""
    with pytest.raises(ValueError, match="SHA256"):
        combine("SHA256", [])


def test_composite_is_the_digest_of_digests():
    """A client can check a composite checksum with what it knows of the parts."""
    parts = [b"a", b"b", b"c"]
    shas = b"".join(hashlib.sha256(part).digest() for part in parts)
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    of_shas = base64.b64encode(hashlib.sha256(shas).digest()).decode()
    of_crcs = base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode()

    assert Checksum("SHA256", f"{of_shas}-3", "COMPOSITE") == _composite("SHA256", parts)
    assert Checksum("CRC32", f"{of_crcs}-3", "COMPOSITE") == _composite("CRC32", parts)


def _composite(algorithm, parts):
    return composite(algorithm, [checksum_of(algorithm, [part]).value for part in parts])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_its_header(algorithm):
    """Headers are spelled like the algorithm, in lower case."""
    assert f"x-amz-checksum-{algorithm.lower()}" == ALGORITHMS[algorithm].header


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"x-amz-checksum-algorithm": "crc32"}, ("CRC32", "COMPOSITE")),
        ({"x-amz-checksum-algorithm": "CRC64NVME"}, ("CRC64NVME", "FULL_OBJECT")),
        (
            {"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT"},
            ("CRC32C", "FULL_OBJECT"),
        ),
    ],
    ids=["none", "CRC32 by default composite", "CRC64NVME is full", "CRC32C full as asked"],
)
def test_reads_the_checksum_of_an_upload(headers, expected):
    """An upload names an algorithm, and each has the type S3 gives it unless told otherwise."""
    assert expected == upload_checksum(a_request("POST", "/out/k?uploads", headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD5"},
        {"x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"},
        {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
    ],
    ids=["unknown", "type alone", "unknown type", "SHA1 full", "CRC64NVME composite"],
)
def test_refuses_an_upload_whose_checksum_cannot_be(headers):
    """An unknown algorithm, a type alone, or a pair that does not fit is InvalidRequest."""
    with refused("InvalidRequest"):
        upload_checksum(a_request("POST", "/out/k?uploads", headers))
