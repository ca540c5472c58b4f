"""Running digests of the body of a request, which verify it and are stored with the object."""

import base64
import binascii
import hashlib
from collections.abc import Mapping

from worker.model import Checksum, Upload
from worker.s3.checksums import (
    ALGORITHMS,
    BY_HEADER,
    COMPOSITE,
    DEFAULT_ALGORITHM,
    PREFIX,
    Algorithm,
    RunningDigest,
    algorithm_named,
    decode,
    encode,
    only,
    sent_checksum,
)
from worker.s3.error_codes import S3Error
from worker.s3.payload import Payload, sha256_mismatch
from worker.s3.request import Request


class Digests:
    """Running digests of one body: MD5 (the ETag), SHA-256 (for the store), and a checksum.

    ``update`` feeds all of them. ``update_md5`` and ``update_others`` each do half of that work,
    for two threads; each must be called with every piece once and in order. Hashing runs without
    the GIL. Call ``verify`` after the last byte; then the values may be stored.
    """

    def __init__(
        self,
        *,
        content_md5: bytes | None = None,
        content_sha256: bytes | None = None,
        expected: Mapping[str, bytes] | None = None,
        announced: tuple[str, ...] = (),
        algorithm: str = DEFAULT_ALGORITHM,
        upload: Upload | None = None,
        document: bool = False,
    ) -> None:
        self.size = 0
        self._upload = upload
        self._document = document
        self._content_md5 = content_md5
        self._content_sha256 = content_sha256
        self._expected = dict(expected or {})
        self._announced = tuple(BY_HEADER[name] for name in announced)
        self._algorithm = ALGORITHMS[algorithm]
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        # The digests besides the MD5, which is computed in any case.
        self._running: dict[str, RunningDigest] = {"SHA256": self._sha256}
        for name in (algorithm, *self._expected, *(each.name for each in self._announced)):
            if name not in self._running and name != "MD5":
                self._running[name] = ALGORITHMS[name].new()

    @classmethod
    def of_request(
        cls,
        request: Request,
        payload: Payload,
        *,
        upload: Upload | None = None,
        document: bool = False,
    ) -> "Digests":
        """Return the digests that a request requires; raises S3Error for invalid headers.

        *upload* is the multipart upload of a part, and *document* says that the body is not the
        content of an object, but an XML document.
        """
        headers = request.headers
        # The checksum of CompleteMultipartUpload is that of the object, not of the request body.
        completes = request.method == "POST" and "uploadId" in request.params
        sent = None if completes else sent_checksum(request)
        announced = [BY_HEADER[name] for name in payload.announced]
        used = only([sent[0], *announced] if sent else announced)
        if not completes:
            _check_algorithm_header(headers.get("x-amz-sdk-checksum-algorithm"), used)
        algorithm = None if upload is None else upload.algorithm
        if upload is not None and algorithm is not None:
            # The value of a part of a composite checksum is listed in the completion, so that its
            # client must have computed it.
            actual = used.name if used else "null" if upload.checksum_type == COMPOSITE else None
            if actual not in (None, algorithm):
                raise _type_mismatch(algorithm, str(actual))
        if algorithm is None:
            # The parts of an upload without an algorithm are stored with the default one, so that
            # the CRC of the object can be combined from theirs.
            algorithm = used.name if used and upload is None else DEFAULT_ALGORITHM
        return cls(
            content_md5=_content_md5(headers.get("content-md5")),
            content_sha256=payload.sha256,
            expected={sent[0].name: decode(*sent)} if sent else None,
            announced=payload.announced,
            algorithm=algorithm,
            upload=upload,
            document=document,
        )

    def update(self, data: bytes | memoryview) -> None:
        """Add the next piece of the body to all digests."""
        self._md5.update(data)
        for running in self._running.values():
            running.update(data)
        self.size += len(data)

    def update_md5(self, data: bytes | memoryview) -> None:
        """Add the next piece to the MD5 only."""
        self._md5.update(data)

    def update_others(self, data: bytes | memoryview) -> None:
        """Add the next piece to all digests except the MD5."""
        for running in self._running.values():
            running.update(data)
        self.size += len(data)

    def verify(self, trailers: Mapping[str, str] | None = None) -> None:
        """Compare the digests with those in the headers and in *trailers*.

        Raises XAmzContentSHA256Mismatch, BadDigest, InvalidRequest or MalformedTrailerError.
        """
        if self._content_sha256 not in (None, self.sha256):
            raise sha256_mismatch(self._content_sha256 or b"", self.sha256)
        if self._content_md5 is not None and self._content_md5 != self._md5.digest():
            # S3 writes the digest that was sent in hex, but that of a part or document in Base64.
            sent, is_object = self._content_md5, self._upload is None and not self._document
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=sent.hex() if is_object else encode(sent),
                CalculatedDigest=encode(self._md5.digest()),
            )
        for name, digest in self._expected.items():
            self._compare(ALGORITHMS[name], digest)
        for announced in self._announced:
            value = (trailers or {}).get(announced.header)
            if value is None:
                raise S3Error("MalformedTrailerError")
            self._compare(announced, decode(announced, value, place="trailing header"))

    def _compare(self, algorithm: Algorithm, digest: bytes) -> None:
        if digest != self._digest(algorithm.name):
            raise S3Error(
                "BadDigest",
                f"The {algorithm.name} you specified did not match the calculated checksum.",
            )

    @property
    def etag(self) -> str:
        """The MD5, in hex."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> bytes:
        """The SHA-256, 32 bytes."""
        return self._sha256.digest()

    @property
    def checksum(self) -> Checksum:
        """The checksum to store, in the algorithm of the upload or else of the client.

        CRC64NVME if neither has one, and for each part of an upload without an algorithm.
        """
        name = self._algorithm.name
        return Checksum(name, encode(self._digest(name)))

    @property
    def response_checksum(self) -> Checksum | None:
        """The checksum of the response: in the client's algorithm, or else the stored one.

        As in S3, the part of an upload without an algorithm has only the one that its client sent.
        """
        used = [*self._expected, *(each.name for each in self._announced)]
        if not used and self._upload is not None and self._upload.algorithm is None:
            return None
        name = used[0] if used else self._algorithm.name
        return Checksum(name, encode(self._digest(name)))

    def _digest(self, algorithm: str) -> bytes:
        return (self._md5 if algorithm == "MD5" else self._running[algorithm]).digest()


def _type_mismatch(expected: str, actual: str) -> S3Error:
    return S3Error(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
        f"actual checksum Type: {actual.lower()}",
    )


def _check_algorithm_header(value: str | None, used: Algorithm | None) -> None:
    if not value:
        return
    algorithm = algorithm_named(value)
    if used is None:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding "
            f"{PREFIX}* or x-amz-trailer headers were found.",
        )
    if used.name != algorithm:
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
