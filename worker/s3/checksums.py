"""Checksums of the S3 API: algorithms, values, and checksums of multipart objects."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import attrs
from awscrt import checksums as crt

from worker.model import Checksum
from worker.s3.error_codes import S3Error
from worker.s3.request import Request

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"
DEFAULT_ALGORITHM = "CRC64NVME"
PREFIX = "x-amz-checksum-"


class RunningDigest(Protocol):
    """A digest in progress."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


@attrs.define
class _RunningCrc:
    _step: Callable[[bytes, int], int]
    """Return the CRC of bytes that follow bytes with the given CRC."""
    _size: int
    _value: int = attrs.field(default=0, init=False)

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._step(data, self._value)  # type: ignore[arg-type]  # awscrt and zlib take buffers

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


@attrs.frozen
class Algorithm:
    """A checksum algorithm of S3."""

    name: str
    size: int
    """Bytes of a value."""
    new: Callable[[], RunningDigest]
    types: tuple[str, ...]
    """The checksum types allowed for a multipart object; the first one is the default."""
    combine: Callable[[int, int, int], int] | None = None
    """For a CRC: return the CRC of A + B from the CRCs of A and B and the length of B."""

    @property
    def header(self) -> str:
        """``x-amz-checksum-crc32`` and so on."""
        return PREFIX + self.name.lower()


BOTH = (COMPOSITE, FULL_OBJECT)
ALGORITHMS: dict[str, Algorithm] = {
    each.name: each
    for each in (
        Algorithm("CRC32", 4, partial(_RunningCrc, zlib.crc32, 4), BOTH, crt.combine_crc32),
        Algorithm("CRC32C", 4, partial(_RunningCrc, crt.crc32c, 4), BOTH, crt.combine_crc32c),
        Algorithm(
            "CRC64NVME",
            8,
            partial(_RunningCrc, crt.crc64nvme, 8),
            (FULL_OBJECT,),
            crt.combine_crc64nvme,
        ),
        Algorithm("SHA1", 20, partial(hashlib.sha1, usedforsecurity=False), (COMPOSITE,)),
        Algorithm("SHA256", 32, hashlib.sha256, (COMPOSITE,)),
    )
}
BY_HEADER = {PREFIX + name.lower(): each for name, each in ALGORITHMS.items()}


def algorithm_named(name: str) -> str:
    """Return the name of an algorithm in S3's spelling; raises InvalidRequest."""
    found = ALGORITHMS.get(name.upper())
    if found is None:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]",
        )
    return found.name


def encode(digest: bytes) -> str:
    """Return a digest in Base64."""
    return base64.b64encode(digest).decode()


def decode(algorithm: Algorithm, value: str) -> bytes:
    """Return the digest of a value in Base64; raises InvalidRequest."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != algorithm.size:
        raise S3Error("InvalidRequest", f"Value for {algorithm.header} header is invalid.")
    return digest


def checksum_of(algorithm: str, pieces: Iterable[bytes | memoryview]) -> Checksum:
    """Return the checksum of bytes, for a copy in another algorithm than its source."""
    running = ALGORITHMS[algorithm].new()
    for piece in pieces:
        running.update(piece)
    return Checksum(algorithm, encode(running.digest()))


def composite(algorithm: str, values: Iterable[str]) -> Checksum:
    """Return the composite checksum of a multipart object: that of its parts' checksums."""
    running = ALGORITHMS[algorithm].new()
    count = 0
    for value in values:
        running.update(base64.b64decode(value))
        count += 1
    return Checksum(algorithm, f"{encode(running.digest())}-{count}", COMPOSITE)


def combine(algorithm: str, parts: Iterable[tuple[str, int]]) -> Checksum:
    """Return the CRC of an object from the CRC and the length in bytes of its parts, in order.

    No payload is read. Raises ValueError for an algorithm that is not a CRC.
    """
    kind = ALGORITHMS[algorithm]
    if kind.combine is None:
        raise ValueError(f"{algorithm} values of parts cannot be combined")
    total = 0
    for value, length in parts:
        part = int.from_bytes(base64.b64decode(value), "big")
        total = kind.combine(total, part, length)
    return Checksum(algorithm, encode(total.to_bytes(kind.size, "big")))


def sent_checksum(request: Request) -> tuple[Algorithm, bytes] | None:
    """Return the algorithm and digest of the ``x-amz-checksum-`` header; None without one."""
    found = [BY_HEADER[name] for name in request.headers.keys() & BY_HEADER.keys()]
    if not found:
        return None
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return found[0], decode(found[0], request.headers[found[0].header])


def upload_checksum(request: Request) -> tuple[str | None, str | None]:
    """Return the algorithm and checksum type of CreateMultipartUpload; raises InvalidRequest."""
    name = request.headers.get("x-amz-checksum-algorithm")
    kind = request.headers.get("x-amz-checksum-type")
    if not name:
        if kind:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header.",
            )
        return None, None
    algorithm = ALGORITHMS[algorithm_named(name)]
    if not kind:
        return algorithm.name, algorithm.types[0]
    if kind.upper() not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if kind.upper() not in algorithm.types:
        raise S3Error(
            "InvalidRequest",
            f"The {kind.upper()} checksum type cannot be used with the {algorithm.name.lower()} "
            "checksum algorithm.",
        )
    return algorithm.name, kind.upper()
