"""The running digests of one body: what a client says they are, what they are, what is stored."""

import base64
import binascii
import hashlib
from collections.abc import Mapping

from worker.s3.checksums import (
    ALGORITHMS,
    BY_HEADER,
    DEFAULT_ALGORITHM,
    PREFIX,
    Algorithm,
    Checksum,
    Running,
    algorithm_named,
    decode,
    encode,
    sent_checksum,
)
from worker.s3.errors import S3Error
from worker.s3.payload import Payload
from worker.s3.request import Request


class Digests:
    """The digests of one body: MD5 (the ETag), SHA-256 (the store) and a checksum, always.

    ``update`` feeds all of them. ``update_md5`` and ``update_others`` are its two halves of about
    equal cost, for two threads: each half must see every piece once and in order. All but the
    bookkeeping runs without the interpreter's lock. After the last byte call ``verify``; then the
    values are what is to be stored.
    """

    def __init__(
        self,
        *,
        content_md5: bytes | None = None,
        content_sha256: bytes | None = None,
        expected: Mapping[str, bytes] | None = None,
        announced: tuple[str, ...] = (),
        algorithm: str = DEFAULT_ALGORITHM,
    ) -> None:
        self.size = 0
        self._content_md5 = content_md5
        self._content_sha256 = content_sha256
        self._expected = dict(expected or {})
        self._announced = tuple(BY_HEADER[name] for name in announced)
        self._algorithm = ALGORITHMS[algorithm]
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._running: dict[str, Running] = {"SHA256": self._sha256}
        for name in (algorithm, *self._expected, *(each.name for each in self._announced)):
            if name not in self._running:
                self._running[name] = ALGORITHMS[name].new()

    @classmethod
    def of_request(
        cls, request: Request, payload: Payload, *, algorithm: str | None = None
    ) -> "Digests":
        """Return the digests that this request's body needs; raises S3Error for bad headers.

        *algorithm* is that of the multipart upload which the body is a part of, if it has one.
        """
        headers = request.headers
        # What a completion says is about the object, not about the list of parts in its body.
        completes = request.method == "POST" and "uploadId" in request.params
        sent = None if completes else sent_checksum(request)
        named = [sent[0].name] if sent else []
        named += [BY_HEADER[name].name for name in payload.announced]
        if len(named) > 1:
            raise S3Error(
                "InvalidRequest",
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not "
                "allowed.",
            )
        if not completes:
            _check_announcement(headers.get("x-amz-sdk-checksum-algorithm"), named)
        if algorithm is not None and named and named[0] != algorithm:
            raise S3Error(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower()}, "
                f"actual checksum Type: {named[0].lower()}",
            )
        # A part of an upload that named no algorithm is stored with the default one, whatever it
        # came with, so that the CRC of the whole can be made from its parts'.
        is_part = "partNumber" in request.params
        chosen = named[0] if named and not is_part else DEFAULT_ALGORITHM
        return cls(
            content_md5=_content_md5(headers.get("content-md5")),
            content_sha256=payload.sha256,
            expected={sent[0].name: sent[1]} if sent else None,
            announced=payload.announced,
            algorithm=algorithm or chosen,
        )

    def update(self, data: bytes | memoryview) -> None:
        """Take the next piece of the body."""
        self.update_md5(data)
        self.update_others(data)

    def update_md5(self, data: bytes | memoryview) -> None:
        """Take the next piece for the MD5 alone."""
        self._md5.update(data)

    def update_others(self, data: bytes | memoryview) -> None:
        """Take the next piece for all but the MD5."""
        for running in self._running.values():
            running.update(data)
        self.size += len(data)

    def verify(self, trailers: Mapping[str, str] | None = None) -> None:
        """Compare with everything the client said of the body, in its headers and *trailers*.

        Raises XAmzContentSHA256Mismatch, BadDigest, InvalidRequest or MalformedTrailerError.
        """
        if self._content_sha256 not in (None, self.sha256):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=(self._content_sha256 or b"").hex(),
                S3ComputedContentSHA256=self.sha256.hex(),
            )
        if self._content_md5 not in (None, self._md5.digest()):
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=encode(self._content_md5 or b""),
                CalculatedDigest=encode(self._md5.digest()),
            )
        for name, digest in self._expected.items():
            self._compare(ALGORITHMS[name], digest)
        for announced in self._announced:
            value = (trailers or {}).get(announced.header)
            if value is None:
                raise S3Error(
                    "MalformedTrailerError",
                    f"The trailer {announced.header} was announced and did not come.",
                )
            self._compare(announced, decode(announced, value))

    def _compare(self, algorithm: Algorithm, digest: bytes) -> None:
        if digest != self._running[algorithm.name].digest():
            raise S3Error(
                "BadDigest",
                f"The {algorithm.name} you specified did not match the calculated checksum.",
            )

    @property
    def etag(self) -> str:
        """The MD5 in hex."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> bytes:
        """The SHA-256, 32 bytes."""
        return self._sha256.digest()

    @property
    def checksum(self) -> Checksum:
        """The checksum to store: the upload's algorithm, else the client's, else CRC64NVME.

        Of a part of an upload that named no algorithm it is CRC64NVME, whatever the client sent.
        """
        return self._value(self._algorithm.name)

    @property
    def answered(self) -> Checksum:
        """The checksum to tell the client: of the algorithm that it used, else the stored one."""
        used = (*self._expected, *(each.name for each in self._announced), self._algorithm.name)
        return self._value(used[0])

    def _value(self, algorithm: str) -> Checksum:
        return Checksum(algorithm, encode(self._running[algorithm].digest()))


def _check_announcement(value: str | None, named: list[str]) -> None:
    if not value:
        return
    if value.upper() not in ALGORITHMS:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    algorithm = algorithm_named(value)
    if not named:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding "
            f"{PREFIX}* or x-amz-trailer headers were found.",
        )
    if named[0] != algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _content_md5(value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", fields={"Content-MD5": value})
    return digest
