"""Checksums of the S3 API: algorithms, values, and checksums of multipart objects."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import attrs
from awscrt import checksums as crt

from worker.model import CHECKSUM_SIZES, Checksum
from worker.s3.error_codes import S3Error
from worker.s3.request import CHECKSUM_SETTINGS, Request

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


@attrs.define
class _RunningXxhash:
    _hash: crt.XXHash

    def update(self, data: bytes | memoryview, /) -> None:
        # Unlike the CRCs, it takes no buffers.
        self._hash.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        digest: bytes = self._hash.finalize()
        return digest


def _new_xxhash(new: Callable[[], crt.XXHash]) -> Callable[[], RunningDigest]:
    return lambda: _RunningXxhash(new())


@attrs.frozen
class Algorithm:
    """A checksum algorithm of S3."""

    name: str
    new: Callable[[], RunningDigest]
    types: tuple[str, ...]
    """The checksum types allowed for a multipart object; the first one is the default (S3 User
    Guide, "Checking object integrity")."""
    combine: Callable[[int, int, int], int] | None = None
    """For a CRC: return the CRC of A + B from the CRCs of A and B and the length of B."""

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return CHECKSUM_SIZES[self.name]

    @property
    def header(self) -> str:
        """``x-amz-checksum-crc32`` and so on."""
        return PREFIX + self.name.lower()


BOTH = (COMPOSITE, FULL_OBJECT)
ALGORITHMS: dict[str, Algorithm] = {
    each.name: each
    for each in (
        Algorithm("CRC32", partial(_RunningCrc, zlib.crc32, 4), BOTH, crt.combine_crc32),
        Algorithm("CRC32C", partial(_RunningCrc, crt.crc32c, 4), BOTH, crt.combine_crc32c),
        Algorithm(
            "CRC64NVME",
            partial(_RunningCrc, crt.crc64nvme, 8),
            (FULL_OBJECT,),
            crt.combine_crc64nvme,
        ),
        Algorithm("MD5", partial(hashlib.md5, usedforsecurity=False), (COMPOSITE,)),
        Algorithm("SHA1", partial(hashlib.sha1, usedforsecurity=False), (COMPOSITE,)),
        Algorithm("SHA256", hashlib.sha256, (COMPOSITE,)),
        Algorithm("SHA512", hashlib.sha512, (COMPOSITE,)),
        Algorithm("XXHASH128", _new_xxhash(crt.XXHash.new_xxhash3_128), (COMPOSITE,)),
        Algorithm("XXHASH3", _new_xxhash(crt.XXHash.new_xxhash3_64), (COMPOSITE,)),
        Algorithm("XXHASH64", _new_xxhash(crt.XXHash.new_xxhash64), (COMPOSITE,)),
    )
}
"""By name, in the order in which S3 lists them."""
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


def decode(algorithm: Algorithm, value: str, *, place: str = "header") -> bytes:
    """Return the digest of a value in Base64; raises InvalidRequest.

    *place* names where the value was sent: ``header`` or ``trailing header``.
    """
    digest = try_decode(algorithm, value)
    if digest is None:
        raise S3Error("InvalidRequest", f"Value for {algorithm.header} {place} is invalid.")
    return digest


def try_decode(algorithm: Algorithm, value: str) -> bytes | None:
    """Return the digest of a value in Base64; None if it is not one of *algorithm*."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == algorithm.size else None


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


def sent_checksum(request: Request) -> tuple[Algorithm, str] | None:
    """Return the algorithm and value of the ``x-amz-checksum-`` header; None without one.

    Raises InvalidRequest for several, and for an unknown algorithm.
    """
    found = []
    for name in request.headers:
        if name.startswith(PREFIX) and name not in CHECKSUM_SETTINGS:
            if name not in BY_HEADER:
                raise S3Error(
                    "InvalidRequest",
                    "The algorithm type you specified in x-amz-checksum- header is invalid.",
                )
            found.append(BY_HEADER[name])
    algorithm = only(found)
    return None if algorithm is None else (algorithm, request.headers[algorithm.header])


def only(algorithms: Sequence[Algorithm]) -> Algorithm | None:
    """Return the algorithm that a request uses, or None; raises InvalidRequest for several."""
    if len(algorithms) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return algorithms[0] if algorithms else None


def upload_checksum(request: Request) -> tuple[str | None, str | None]:
    """Return the algorithm and checksum type of CreateMultipartUpload; raises InvalidRequest."""
    name = request.headers.get("x-amz-checksum-algorithm")
    kind = checksum_type(request)
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
    if kind not in algorithm.types:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm.name.lower()} checksum "
            "algorithm.",
        )
    return algorithm.name, kind


def checksum_type(request: Request) -> str | None:
    """Return the value of x-amz-checksum-type, or None; raises InvalidRequest."""
    kind = request.headers.get("x-amz-checksum-type", "").upper()
    if kind not in ("", COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    return kind or None
