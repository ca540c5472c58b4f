"""What the protocol needs to know of an object and its parts, whoever keeps them."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class ChecksumFacts(Protocol):
    """A checksum: ``CRC32``, ``CRC32C``, ``CRC64NVME``, ``SHA1`` or ``SHA256``, in base64."""

    @property
    def algorithm(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def type(self) -> str:
        """``FULL_OBJECT`` or ``COMPOSITE``."""


class PartFacts(Protocol):
    """One part of an object that was uploaded in parts."""

    @property
    def number(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def checksum(self) -> ChecksumFacts | None: ...


class ListedFacts(Protocol):
    """What a listing shows of an object."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str:
        """Without quotes."""

    @property
    def modified(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    @property
    def checksum(self) -> ChecksumFacts | None: ...


class ObjectFacts(ListedFacts, Protocol):
    """What S3 tells of an object; the entries of a tree and of an index are such."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Stored headers by lower-case name: content-type, content-encoding, …"""

    @property
    def metadata(self) -> Mapping[str, str]:
        """User metadata by lower-case name, without the ``x-amz-meta-``."""

    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def parts(self) -> Sequence[PartFacts]: ...


class StoredPart(PartFacts, Protocol):
    """A part of an upload that is still going on."""

    @property
    def etag(self) -> str:
        """The MD5 in hex, without quotes."""

    @property
    def modified(self) -> int: ...


class UploadFacts(Protocol):
    """A multipart upload that is going on."""

    @property
    def key(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def initiated(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    @property
    def algorithm(self) -> str | None:
        """The checksum algorithm that CreateMultipartUpload named."""

    @property
    def checksum_type(self) -> str | None: ...
