"""The output bucket: empty at first, writable, and the job's output once it is frozen.

Payload is written to a stage and belongs to no object until the index refers to it. Each change
names the epoch in which its request began; a change of an epoch that was rolled back raises
OutputClosed.
"""

import time
from collections.abc import Iterator
from typing import Protocol

import attrs

from worker.buckets.bucket import Bucket
from worker.buckets.index import Decide, Index
from worker.errors import KeyMissing
from worker.model import OUT, Checksum, Entry, Extent, Part, StoredPart, Upload, cut
from worker.s3.checksums import COMPOSITE
from worker.s3.metadata import ObjectMetadata
from worker.s3.multipart import Completion
from worker.store.blobs import Stage


@attrs.frozen
class Content:
    """Payload that is in the stage, and its digests."""

    extents: tuple[Extent, ...]
    size: int
    etag: str
    checksum: Checksum | None


class Assemble(Protocol):
    """Combines the stored parts of an upload, by number, into an object; may raise to refuse."""

    def __call__(self, upload: Upload, parts: list[StoredPart]) -> Completion: ...


def now_ms() -> int:
    """Return the time of a change, in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


@attrs.frozen(eq=False)
class OutputBucket(Bucket):
    """An index over the stage of one writer; several processes open the same index."""

    name: str = attrs.field(default=OUT, init=False)
    index: Index = attrs.field(kw_only=True)
    stage: Stage = attrs.field(kw_only=True)
    """Where payload is written before a change refers to it."""

    # --- reads ----------------------------------------------------------------------------------

    def find(self, key: str) -> Entry | None:
        """Return the entry of the object at *key*, or None."""
        return self.index.get(key)

    async def entry(self, key: str) -> Entry:
        """Return the entry of the object at *key*; raises KeyMissing."""
        entry = self.index.get(key)
        if entry is None:
            raise KeyMissing(OUT, key)
        return entry

    def entries(self, start: str) -> Iterator[Entry]:
        """Yield the entries at *start* and after it; blocks."""
        return self.index.entries(start)

    # --- objects --------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        content: Content,
        metadata: ObjectMetadata,
        *,
        epoch: int,
        decide: Decide | None = None,
    ) -> Entry:
        """Create or replace the object at *key*, if *decide* accepts what exists there."""
        entry = Entry(
            key=key,
            size=content.size,
            etag=content.etag,
            modified=now_ms(),
            extents=content.extents,
            headers=metadata.headers,
            metadata=metadata.metadata,
            tags=metadata.tags,
            checksum=content.checksum,
        )
        self.index.put(entry, epoch=epoch, decide=decide)
        return entry

    def copy(
        self,
        key: str,
        source: Entry,
        metadata: ObjectMetadata,
        checksum: Checksum | None,
        *,
        epoch: int,
        decide: Decide | None = None,
    ) -> Entry:
        """Create an object that shares the extents of *source*; no payload is read or written.

        As in S3, the copy of a multipart object has no parts.
        """
        entry = attrs.evolve(
            source,
            key=key,
            modified=now_ms(),
            headers=metadata.headers,
            metadata=metadata.metadata,
            tags=metadata.tags,
            checksum=checksum,
            parts=(),
        )
        self.index.put(entry, epoch=epoch, decide=decide)
        return entry

    def add(self, entry: Entry, *, epoch: int) -> None:
        """Add the object of an existing entry, such as a file that the job collected."""
        self.index.put(entry, epoch=epoch)

    def delete(self, key: str, *, epoch: int, decide: Decide | None = None) -> None:
        """Delete the object at *key*, if it exists and *decide* accepts it."""
        self.index.remove(key, epoch=epoch, decide=decide)

    def set_tags(self, key: str, tags: dict[str, str], *, epoch: int) -> None:
        """Replace the tags of the object at *key*; raises KeyMissing."""
        self.index.update(key, lambda entry: attrs.evolve(entry, tags=tags), epoch=epoch)

    # --- multipart uploads ------------------------------------------------------------------------

    def create_upload(
        self,
        key: str,
        upload_id: str,
        metadata: ObjectMetadata,
        *,
        algorithm: str | None,
        checksum_type: str | None,
        epoch: int,
    ) -> Upload:
        """Create a multipart upload."""
        upload = Upload(
            id=upload_id,
            key=key,
            initiated=now_ms(),
            headers=metadata.headers,
            metadata=metadata.metadata,
            tags=metadata.tags,
            algorithm=algorithm,
            checksum_type=checksum_type,
        )
        self.index.create_upload(upload, epoch=epoch)
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        """Return an upload in progress; raises UploadMissing."""
        return self.index.upload(key, upload_id)

    def check_upload(self, key: str, upload_id: str) -> None:
        """Raise UploadMissing unless the upload is in progress or was completed."""
        self.index.check_upload(key, upload_id)

    def uploads(self) -> Iterator[Upload]:
        """Yield the uploads in progress by key and id; blocks."""
        return self.index.uploads()

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts of an upload by number; raises UploadMissing."""
        return self.index.parts(key, upload_id)

    def put_part(
        self, key: str, upload_id: str, number: int, content: Content, *, epoch: int
    ) -> StoredPart:
        """Store a part, in place of an earlier one of the same number; raises UploadMissing."""
        part = StoredPart(
            number=number,
            size=content.size,
            etag=content.etag,
            modified=now_ms(),
            extents=content.extents,
            checksum=content.checksum,
        )
        self.index.put_part(key, upload_id, part, epoch=epoch)
        return part

    def copy_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        source: Entry,
        *,
        start: int,
        stop: int,
        etag: str,
        checksum: Checksum,
        epoch: int,
    ) -> StoredPart:
        """Store the bytes of *source* from *start* up to *stop* as a part, sharing its extents."""
        extents = cut(source.extents, start, stop)
        content = Content(extents, stop - start, etag, checksum)
        return self.put_part(key, upload_id, number, content, epoch=epoch)

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        assemble: Assemble,
        *,
        epoch: int,
        decide: Decide | None = None,
    ) -> Entry:
        """Make an object of an upload, if *decide* accepts what exists at *key*.

        If *assemble* raises, the upload stays. Completing an upload again returns the same entry.
        """

        def make_entry(upload: Upload, parts: list[StoredPart]) -> Entry:
            made = assemble(upload, parts)
            return Entry(
                key=upload.key,
                size=made.size,
                etag=made.etag,
                modified=now_ms(),
                extents=tuple(extent for part in made.parts for extent in part.extents),
                headers=upload.headers,
                metadata=upload.metadata,
                tags=upload.tags,
                checksum=made.checksum,
                parts=tuple(
                    Part(
                        part.number,
                        part.size,
                        # Of a full object's checksum, no part has one.
                        part.checksum if made.checksum.type == COMPOSITE else None,
                    )
                    for part in made.parts
                ),
            )

        return self.index.complete_upload(
            key, upload_id, make_entry=make_entry, epoch=epoch, decide=decide
        )

    def abort_upload(self, key: str, upload_id: str, *, epoch: int) -> None:
        """Delete an upload and its parts; raises UploadMissing."""
        self.index.abort_upload(key, upload_id, epoch=epoch)

    # --- the job's attempts -----------------------------------------------------------------------

    def epoch(self) -> int:
        """Return the current epoch."""
        return self.index.epoch()

    def begin(self) -> int:
        """Return the epoch of a request that begins now; raises OutputClosed."""
        return self.index.begin()

    def start_epoch(self) -> None:
        """Start a new epoch with the current content, to which earlier requests may still add."""
        self.index.start_epoch()

    def roll_back(self) -> None:
        """Start a new epoch with the content that the current one started with.

        Requests that began in the current epoch can change nothing more.
        """
        self.index.roll_back()

    def take_snapshot(self) -> None:
        """Take a snapshot of the content for `kept`, unless there is one."""
        self.index.take_snapshot()

    def kept(self) -> Iterator[Entry]:
        """Yield the entries of the snapshot, or of the bucket if none was taken; blocks."""
        return self.index.entries(snapshot=self.index.has_snapshot())

    def close(self) -> None:
        """Refuse requests that begin from now on; those in flight may finish."""
        self.index.refuse_new()

    def freeze(self) -> None:
        """Refuse all further changes, and make the payload that this process wrote durable."""
        self.index.freeze()
        self.stage.flush()

    def is_closed(self) -> bool:
        """Whether requests that begin now are refused."""
        return self.index.is_closed()
