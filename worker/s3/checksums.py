"""Checksums as S3 names them: the algorithms, their values, and a whole's from its parts'."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import attrs
from awscrt import checksums as crt

from worker.s3.errors import S3Error
from worker.s3.request import Request

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"
DEFAULT_ALGORITHM = "CRC64NVME"
PREFIX = "x-amz-checksum-"


class Running(Protocol):
    """A digest that is fed piece by piece."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _RunningCrc:
    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._step(data, self._value)  # type: ignore[arg-type]

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


@attrs.frozen
class Algorithm:
    """One of S3's checksum algorithms."""

    name: str
    size: int
    """Bytes of a value."""
    new: Callable[[], Running]
    types: tuple[str, ...]
    """What a multipart object's may be; the first is the default."""
    polynomial: int | None = None
    """Of a CRC, with its bits reversed; a CRC of a whole follows from those of its parts."""

    @property
    def header(self) -> str:
        """``x-amz-checksum-crc32`` and so on."""
        return PREFIX + self.name.lower()


def _crc(step: Callable[[bytes, int], int], size: int) -> Callable[[], Running]:
    return partial(_RunningCrc, step, size)


ALGORITHMS: dict[str, Algorithm] = {
    each.name: each
    for each in (
        Algorithm("CRC32", 4, _crc(zlib.crc32, 4), (COMPOSITE, FULL_OBJECT), 0xEDB88320),
        Algorithm("CRC32C", 4, _crc(crt.crc32c, 4), (COMPOSITE, FULL_OBJECT), 0x82F63B78),
        Algorithm("CRC64NVME", 8, _crc(crt.crc64nvme, 8), (FULL_OBJECT,), 0x9A6C9329AC4BC9B5),
        Algorithm("SHA1", 20, partial(hashlib.sha1, usedforsecurity=False), (COMPOSITE,)),
        Algorithm("SHA256", 32, hashlib.sha256, (COMPOSITE,)),
    )
}
BY_HEADER = {each.header: each for each in ALGORITHMS.values()}


@attrs.frozen
class Checksum:
    """A checksum of an object or part; *value* is base64, with ``-N`` behind when composite."""

    algorithm: str
    value: str
    type: str = FULL_OBJECT


def algorithm_named(name: str) -> str:
    """Return the name as S3 spells it; raises InvalidRequest for what is no algorithm."""
    found = ALGORITHMS.get(name.upper())
    if found is None:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]",
        )
    return found.name


def encode(digest: bytes) -> str:
    """Return a digest as S3 writes it."""
    return base64.b64encode(digest).decode()


def decode(algorithm: Algorithm, value: str) -> bytes:
    """Return the digest that a client wrote; raises InvalidRequest if it cannot be one."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != algorithm.size:
        raise S3Error("InvalidRequest", f"Value for {algorithm.header} header is invalid.")
    return digest


def checksum_of(algorithm: str, pieces: Iterable[bytes | memoryview]) -> Checksum:
    """Return the checksum of bytes, for a copy that asks for another algorithm."""
    running = ALGORITHMS[algorithm].new()
    for piece in pieces:
        running.update(piece)
    return Checksum(algorithm, encode(running.digest()))


def composite(algorithm: str, values: Iterable[str]) -> Checksum:
    """Return the checksum of the parts' checksums, as multipart objects have it."""
    running = ALGORITHMS[algorithm].new()
    count = 0
    for value in values:
        running.update(base64.b64decode(value))
        count += 1
    return Checksum(algorithm, f"{encode(running.digest())}-{count}", COMPOSITE)


def combine(algorithm: str, parts: Iterable[tuple[str, int]]) -> Checksum:
    """Return the CRC of a whole from (value, length) of its parts; not a byte is read."""
    kind = ALGORITHMS[algorithm]
    if kind.polynomial is None:
        raise ValueError(f"{algorithm} of a whole cannot be made from its parts'")
    bits = kind.size * 8
    shifts: dict[int, int] = {}
    total = 0
    for value, length in parts:
        if length not in shifts:
            shifts[length] = _shift(length, kind.polynomial, bits)
        crc = int.from_bytes(base64.b64decode(value), "big")
        total = _multiply(shifts[length], total, kind.polynomial, bits) ^ crc
    return Checksum(algorithm, encode(total.to_bytes(kind.size, "big")))


# CRCs are remainders of polynomials over GF(2), their bits here reversed: the highest bit is the
# coefficient of x^0. That of A followed by B is CRC(A) * x^(8 * length of B) + CRC(B), as zlib's
# crc32_combine has it (M. Adler's note in crc32.c).
def _multiply(left: int, right: int, polynomial: int, bits: int) -> int:
    product = 0
    mask = 1 << (bits - 1)
    while left:
        if left & mask:
            product ^= right
            left ^= mask
        mask >>= 1
        right = (right >> 1) ^ polynomial if right & 1 else right >> 1
    return product


def _shift(length: int, polynomial: int, bits: int) -> int:
    """Return x^(8 * length) modulo the polynomial."""
    power = 1 << (bits - 1 - 8)  # x^8: one byte
    result = 1 << (bits - 1)  # x^0
    while length:
        if length & 1:
            result = _multiply(result, power, polynomial, bits)
        power = _multiply(power, power, polynomial, bits)
        length >>= 1
    return result


def sent_checksum(request: Request) -> tuple[Algorithm, bytes] | None:
    """Return the x-amz-checksum-… header with its digest, None without one."""
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
    """Return the (algorithm, type) that CreateMultipartUpload names; refuses unfit pairs."""
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
