"""One call of an S3 operation: what a handler is given, and the answers they all make."""

from collections.abc import Callable, Iterable, Mapping

import attrs

from worker.buckets.bucket import Bucket
from worker.buckets.output import OutBucket
from worker.gateway.body import Content, read_document
from worker.gateway.exchange import Answer, Headers, Incoming
from worker.model import Checksum
from worker.s3.checksums import ALGORITHMS
from worker.s3.checksums import Checksum as Computed
from worker.s3.digests import Digests
from worker.s3.errors import S3Error
from worker.s3.payload import payload
from worker.s3.request import Request
from worker.s3.routing import MAX_DOCUMENT
from worker.s3.sigv4 import Signed


class Buckets:
    """The buckets that exist, by name; at most one of them can be written."""

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        self._by_name = {bucket.name: bucket for bucket in buckets}
        self.names: tuple[str, ...] = tuple(sorted(self._by_name))
        self.out = next((b for b in self._by_name.values() if isinstance(b, OutBucket)), None)

    def find(self, name: str | None) -> Bucket:
        """Return the bucket, or refuse with the names of those that exist."""
        try:
            return self._by_name[name or ""]
        except KeyError:
            there = ", ".join(f"s3://{each}" for each in self.names) or "none"
            raise S3Error(
                "NoSuchBucket",
                f"The specified bucket does not exist. The buckets of this job: {there}.",
                BucketName=name or "",
            ) from None

    def writable(self, bucket: Bucket) -> OutBucket:
        """Return *bucket* as the one that can be written, or refuse and say which one can."""
        if isinstance(bucket, OutBucket):
            return bucket
        where = (
            f"write to s3://{self.out.name}" if self.out else "this job has no bucket to write to"
        )
        raise S3Error("AccessDenied", f"`{bucket.name}` is a read-only input; {where}")


@attrs.frozen(eq=False)
class Call:
    """A request for an operation on a bucket that exists."""

    request: Request
    bucket: Bucket
    buckets: Buckets
    incoming: Incoming
    signed: Signed | None
    """Who signed it, where that was asked for."""
    scheme: str
    """``http`` or ``https``."""
    epoch: int
    """The epoch of the output in which the call began: it may change that one and no later one."""
    count: Callable[[int], None]
    """To be told of payload bytes as they go through."""

    @property
    def key(self) -> str:
        """The key, of an operation on an object."""
        assert self.request.key is not None
        return self.request.key

    @property
    def out(self) -> OutBucket:
        """The bucket, of an operation that writes."""
        return self.buckets.writable(self.bucket)

    async def document(self) -> bytes:
        """Return the body of an operation that takes a document, checked."""
        form = payload(self.request, streaming_allowed=False)
        content = Content(self.incoming, form, self.signed)
        digests = Digests.of_request(self.request, form)
        return await read_document(content, digests, limit=MAX_DOCUMENT)


def empty(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer without a body; *status* 204 says so itself, any other by its length."""
    length: Headers = [] if status == 204 else [(b"content-length", b"0")]
    return Answer(status, [*encoded(headers or {}), *length])


def document(body: bytes, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Answer:
    """Return an answer whose body is an XML document."""
    length = b"%d" % len(body)
    own: Headers = [(b"content-type", b"application/xml"), (b"content-length", length)]
    return Answer(status, [*own, *encoded(headers or {})], body)


def encoded(headers: Mapping[str, str]) -> Headers:
    """Return *headers* as they go over the wire: a character a byte, as they came."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def kept(checksum: Computed) -> Checksum:
    """Return a checksum as the protocol has computed it, as the store keeps it."""
    return Checksum(checksum.algorithm, checksum.value, checksum.type)


def tags_of(etag: str, checksum: Checksum | None) -> dict[str, str]:
    """Return the headers by which a client can tell what was stored."""
    headers = {"etag": f'"{etag}"'}
    if checksum is not None:
        headers[ALGORITHMS[checksum.algorithm].header] = checksum.value
        headers["x-amz-checksum-type"] = checksum.type
    return headers
