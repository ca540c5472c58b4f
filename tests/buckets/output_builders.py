"""Builders of objects and parts of an output bucket, and the ways in which a change is rejected."""

from worker.errors import Conflict
from worker.model import Entry, Extent, StoredPart, Upload

RUN = Extent.of_run("s/0-0", offset=3, length=5, sha256=b"\x07" * 32)


def entry(key: str, etag: str = "e") -> Entry:
    return Entry(key=key, size=5, etag=etag, modified=1, extents=(RUN,))


def part(number: int, etag: str = "p") -> StoredPart:
    return StoredPart(number=number, size=5, etag=etag, modified=1, extents=(RUN,))


def assemble(upload: Upload, parts: list[StoredPart]) -> Entry:
    return Entry(
        key=upload.key,
        size=sum(part.size for part in parts),
        etag="-".join(part.etag for part in parts),
        modified=1,
        extents=tuple(extent for part in parts for extent in part.extents),
    )


class Refused(Conflict):
    pass


def refuse(_there: Entry | None) -> None:
    raise Refused("no")
