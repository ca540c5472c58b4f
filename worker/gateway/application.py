"""From a request to its answer: which operation it is, whether it may be, and what became of it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from worker import telemetry
from worker.buckets.bucket import KeyMissing
from worker.buckets.database import OutputClosed
from worker.buckets.index import Index
from worker.buckets.input import InputBucket
from worker.buckets.output import OutBucket
from worker.buckets.uploads import UploadMissing
from worker.errors import NO_SPACE, WorkerError
from worker.gateway import listings, objects, uploads
from worker.gateway.call import Buckets, Call, document
from worker.gateway.counters import Counters
from worker.gateway.exchange import Answer, ClientGone, Head, Incoming
from worker.gateway.messages import GatewayPlan
from worker.gateway.refusals import identity, new_host_id, new_request_id, refusal
from worker.s3 import answers, documents, listing
from worker.s3.errors import S3Error, translate
from worker.s3.request import Request, parse
from worker.s3.routing import Operation, route
from worker.s3.signatures import verify
from worker.s3.sigv4 import Credentials, Signed
from worker.store.backends.base import Damaged, ObjectMissing
from worker.store.blobs import BlobReader, Stage
from worker.store.repository import open_store

log = telemetry.logger()

Handler = Callable[[Call], Awaitable[Answer]]

HANDLERS: Mapping[str, Handler] = {
    "GetObject": objects.get_object,
    "HeadObject": objects.get_object,
    "PutObject": objects.put_object,
    "CopyObject": objects.copy_object,
    "DeleteObject": objects.delete_object,
    "DeleteObjects": objects.delete_objects,
    "GetObjectAttributes": objects.get_object_attributes,
    "GetObjectTagging": objects.get_object_tagging,
    "PutObjectAcl": objects.put_object_acl,
    "PutObjectTagging": objects.put_object_tagging,
    "DeleteObjectTagging": objects.delete_object_tagging,
    "CreateMultipartUpload": uploads.create,
    "UploadPart": uploads.upload_part,
    "UploadPartCopy": uploads.upload_part_copy,
    "CompleteMultipartUpload": uploads.complete,
    "AbortMultipartUpload": uploads.abort,
    "ListParts": uploads.list_parts,
    "HeadBucket": listings.head_bucket,
    "ListObjects": listings.list_objects(listing.V1),
    "ListObjectsV2": listings.list_objects(listing.V2),
    "ListObjectVersions": listings.list_objects(listing.VERSIONS),
    "ListMultipartUploads": listings.list_uploads,
}


class Service:
    """The buckets of one job, as S3."""

    def __init__(
        self,
        buckets: Buckets,
        *,
        job: str,
        counters: Counters,
        credentials: Credentials | None = None,
        described: Mapping[str, str] | None = None,
        plan: GatewayPlan | None = None,
    ) -> None:
        """Serve *buckets*; with *credentials* to those only who sign with them.

        *described* says of a bucket by name what it serves, for people. *plan* names the files that
        tell the job which disk is full.
        """
        self._plan = plan
        self.job = job
        self.counters = counters
        self.described = described or {}
        self.open_to_all = credentials is None
        self._buckets = buckets
        self._credentials = credentials
        self._started = int(time.time() * 1000)
        self._host_id = new_host_id()

    def is_open(self) -> bool:
        """Whether what is written would be taken."""
        out = self._buckets.out
        return out is None or not out.index.frozen()

    def is_bucket_host(self, host: bytes) -> bool:
        """Whether *host*, of a request, names a bucket."""
        request = parse("GET", b"/", b"", [(b"host", host)], buckets=self._buckets.names)
        return request.virtual

    def settle(self) -> None:
        """Make durable all that was written. This one blocks."""
        if self._buckets.out is not None:
            self._buckets.out.stage.flush()

    async def answer(self, head: Head, incoming: Incoming) -> Answer:
        """Return the answer to a request, whatever it is; raises only ClientGone."""
        request_id = new_request_id()
        resource, bucket, writes = head.path.decode("latin-1"), "", False
        try:
            request = parse(
                head.method, head.path, head.query, head.headers, buckets=self._buckets.names
            )
            resource, bucket = request.resource, request.bucket or ""
            signed = self._who(request)
            operation = route(request)
            writes = operation.writes
            answer = await self._carry_out(operation, request, signed, head, incoming)
            self._count(bucket, writes)
        except ClientGone:
            raise
        except Exception as error:
            fault = _fault(error)
            if self._plan is not None and getattr(error, "errno", None) in NO_SPACE:
                plan = self._plan
                with suppress(OSError):
                    (plan.scratch_full if _in_scratch(error, plan) else plan.store_full).touch()
                if _in_scratch(error, plan):
                    fault = S3Error("ServiceUnavailable", SCRATCH_FULL)
            if fault.status >= 500 and fault is not error:
                log.error(
                    "gateway.failed",
                    request=request_id,
                    resource=resource,
                    reason=str(error),
                    # What is raised on purpose says enough, and may come with every request.
                    exc_info=not isinstance(error, WorkerError),
                )
            self._count(bucket, writes, refused=1)
            return refusal(fault, resource=resource, request_id=request_id, host_id=self._host_id)
        answer.headers.extend(identity(request_id, self._host_id))
        return answer

    def _who(self, request: Request) -> Signed | None:
        if self._credentials is None:
            return None
        return verify(request, self._credentials, now=time.time())

    async def _carry_out(
        self,
        operation: Operation,
        request: Request,
        signed: Signed | None,
        head: Head,
        incoming: Incoming,
    ) -> Answer:
        if operation.name == "ListBuckets":
            named = [(name, self._started) for name in self._buckets.names]
            return document(documents.list_buckets(named, prefix=request.params.get("prefix")))
        if operation.answer is not None:
            return self._fixed(operation, request)
        bucket = self._buckets.find(request.bucket)
        epoch = 0
        if operation.writes:
            epoch = self._buckets.writable(bucket).index.epoch()
        counted = "bytes_written" if operation.writes else "bytes_read"
        call = Call(
            request=request,
            bucket=bucket,
            buckets=self._buckets,
            incoming=incoming,
            signed=signed,
            scheme=head.scheme,
            epoch=epoch,
            count=lambda amount: self.counters.add(bucket.name, **{counted: amount}),
        )
        return await HANDLERS[operation.name](call)

    def _fixed(self, operation: Operation, request: Request) -> Answer:
        exists = request.bucket in self._buckets.names
        return document(answers.answer(operation, request, exists=exists))

    def _count(self, bucket: str, writes: bool, *, refused: int = 0) -> None:
        if writes:
            self.counters.add(bucket, writes=1, refused=refused)
        else:
            self.counters.add(bucket, reads=1, refused=refused)


FULL = "The disk of the store that the output is written to is full."
SCRATCH_FULL = "The disk of the worker's scratch directory is full."
LOST = "The store under this bucket has lost the object's data; the log of the job says more."

# What the errors of our own rooms are to an S3 client, where their meaning alone says too little.
FAULTS: tuple[tuple[type[WorkerError], Callable[[WorkerError], S3Error]], ...] = (
    (KeyMissing, lambda error: S3Error("NoSuchKey", Key=getattr(error, "key", ""))),
    (
        UploadMissing,
        lambda error: S3Error("NoSuchUpload", UploadId=getattr(error, "upload_id", "")),
    ),
    # Not a 503, which clients try again and again: no later try can succeed.
    (OutputClosed, lambda error: S3Error("AccessDenied", str(error))),
    # Not a 404 either, which means that there is no such object, and many clients go on from that.
    (ObjectMissing, lambda _: S3Error("InternalError", LOST)),
    (Damaged, lambda _: S3Error("InternalError", LOST)),
)


def _in_scratch(error: Exception, plan: GatewayPlan) -> bool:
    """Return whether *error* is about a file in the scratch directory."""
    path = getattr(error, "path", None)
    return path is not None and Path(path).is_relative_to(plan.scratch)


def _fault(error: Exception) -> S3Error:
    """Return the S3 error that answers *error*."""
    if isinstance(error, S3Error):
        return error
    if getattr(error, "errno", None) in NO_SPACE:
        return S3Error("ServiceUnavailable", FULL)
    if isinstance(error, WorkerError):
        meant = next((make for kind, make in FAULTS if isinstance(error, kind)), translate)
        return meant(error)
    return S3Error("InternalError")


def open_service(plan: GatewayPlan, *, number: int, counters: Counters) -> Service:
    """Return the service of process *number* of the gateway; this one blocks."""
    store = open_store(plan.store, plan.options)
    reader = BlobReader(store.backend, scratch=plan.scratch)
    buckets: list[InputBucket | OutBucket] = []
    described = {}
    for served in plan.inputs:
        buckets.append(InputBucket(served.name, store.tree(store.commit(served.commit)), reader))
        described[served.name] = str(served.commit)
    if plan.out:
        stage = Stage(store.backend, plan.stage, writer=f"p{number}", scratch=plan.scratch)
        buckets.append(OutBucket(Index(plan.index), stage, reader))
        described["out"] = "the output of this job"
    return Service(
        Buckets(buckets),
        job=plan.job,
        counters=counters,
        credentials=Credentials(plan.auth.access, plan.auth.secret) if plan.auth else None,
        described=described,
        plan=plan,
    )
