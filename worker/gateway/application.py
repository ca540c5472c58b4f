"""The S3 application: from a request to its response.

A request is parsed, authenticated and routed; a handler translates it to a verb of a bucket; every
error becomes an S3 error document.
"""

import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import attrs

from worker import telemetry
from worker.buckets.bucket import Bucket, InputBucket
from worker.buckets.index import Index
from worker.buckets.output import OutputBucket
from worker.errors import Denied, WorkerError, is_disk_full, s3_code_of
from worker.gateway import forms, listings, objects, uploads
from worker.gateway.counters import Counters
from worker.gateway.cross_site import SANDBOX, OwnHosts, check_host, check_page, is_of_browser
from worker.gateway.failure_report import write_report
from worker.gateway.http import (
    ClientDisconnected,
    Headers,
    RequestBody,
    RequestHead,
    Response,
    xml,
)
from worker.gateway.inflight import WritesInFlight
from worker.gateway.messages import GatewayPlan
from worker.model import MAX_KEY, OUT
from worker.redaction import redact
from worker.s3 import bucket_listing, canned_responses, listing, xml_responses
from worker.s3.authentication import verify
from worker.s3.error_codes import S3Error
from worker.s3.payload import check_payload_mode
from worker.s3.request import BUCKET, Request, parse
from worker.s3.routing import route
from worker.s3.signing import Credentials, Signed
from worker.store.blobs import BlobReader, Stage
from worker.store.opening import open_store

STORE_FULL = "The disk of the store that the output is written to is full."
SCRATCH_FULL = "The disk of the worker's scratch directory is full."
SERVER = (b"server", b"worker")
OBJECT_TRANSFERS = frozenset(
    {"GetObject", "PutObject", "CopyObject", "CompleteMultipartUpload", "PostObject"}
)
"""Operations that read or write the content of an object."""
NOT_MODIFIED = 304
"""The status of a GetObject that has no content."""


@attrs.define(eq=False)
class Context:
    """A request for an operation on a bucket that exists."""

    request: Request
    key: str
    """Empty for an operation on the bucket itself."""
    bucket: Bucket
    application: "S3Application"
    body: RequestBody
    signed: Signed | None
    """The verified signature, if authentication is on."""
    scheme: str
    """``http`` or ``https``."""
    upload: forms.FormUpload | None = None
    """The form of PostObject, whose file is still to be received."""
    transferred: int = 0
    """Payload bytes that the handler read or wrote."""


READS: Mapping[str, Callable[[Context], Awaitable[Response]]] = {
    "GetObject": objects.get_object,
    "HeadObject": objects.get_object,
    "GetObjectAcl": objects.get_object_acl,
    "RestoreObject": objects.restore_object,
    "GetObjectAttributes": objects.get_object_attributes,
    "GetObjectTagging": objects.get_object_tagging,
    "HeadBucket": listings.head_bucket,
    "ListObjects": partial(listings.list_objects, kind=listing.V1),
    "ListObjectsV2": partial(listings.list_objects, kind=listing.V2),
    "ListObjectVersions": partial(listings.list_objects, kind=listing.VERSIONS),
    "ListMultipartUploads": uploads.list_uploads,
    "ListParts": uploads.list_parts,
}
"""The handlers of operations that only read, by the name of the operation."""
WRITES: Mapping[str, Callable[[Context, OutputBucket, int], Awaitable[Response]]] = {
    "PutObject": objects.put_object,
    "PostObject": forms.post_object,
    "CopyObject": objects.copy_object,
    "DeleteObject": objects.delete_object,
    "DeleteObjects": objects.delete_objects,
    "PutObjectAcl": objects.put_object_acl,
    "PutObjectTagging": objects.put_object_tagging,
    "DeleteObjectTagging": objects.delete_object_tagging,
    "CreateMultipartUpload": uploads.create,
    "UploadPart": uploads.upload_part,
    "UploadPartCopy": uploads.upload_part_copy,
    "CompleteMultipartUpload": uploads.complete,
    "AbortMultipartUpload": uploads.abort,
}
"""The handlers of operations that write, which get the output bucket and its present epoch."""
UPLOADS = frozenset({"PutObject", "UploadPart"})
"""The operations whose bodies may be aws-chunked."""
FORM_UPLOAD = "PostObject"
PREFLIGHT = "OPTIONS"
"""The method of preflight requests, which no browser signs."""
ADMIN = b"/-/"
"""The prefix of the paths of the admin pages."""


def is_authenticated_by_form(request: Request) -> bool:
    """Whether the signature of a request is in the fields of its form.

    A form may be signed in a header instead, as any request, but not in its query (S3 developer
    guide, "HTML forms").
    """
    return (
        request.method == "POST"
        and request.level == BUCKET
        and "authorization" not in request.headers
        and route(request).name == FORM_UPLOAD
    )


class S3Application:
    """The buckets of one job as S3; at most one of them is writable."""

    def __init__(
        self,
        buckets: Iterable[Bucket],
        *,
        job: str,
        counters: Counters,
        credentials: Credentials | None = None,
        descriptions: Mapping[str, str] | None = None,
        plan: GatewayPlan | None = None,
    ) -> None:
        """Serve *buckets*; with *credentials*, only requests that are signed with them.

        *descriptions* say what each bucket serves, for people. *plan* names the files in which a
        full disk is reported to the job.
        """
        self.job = job
        self.counters = counters
        self.descriptions = descriptions or {}
        self.authenticated = credentials is not None
        self.buckets = {bucket.name: bucket for bucket in buckets}
        output = self.buckets.get(OUT)
        self._output = output if isinstance(output, OutputBucket) else None
        self.writes = WritesInFlight()
        self.failures = telemetry.RecurringErrors("gateway.failed", time.monotonic)
        self.scratch = Path(gettempdir()) if plan is None else plan.scratch
        """The directory of documents that are received."""
        self._plan = plan
        self._hosts = OwnHosts.of(plan.hosts if plan is not None else (), self.buckets)
        self._credentials = credentials
        self._started = int(time.time() * 1000)
        self._host_id = base64.b64encode(secrets.token_bytes(24)).decode()

    def is_ready(self) -> bool:
        """Whether requests are accepted: false once the output is closed."""
        return self._output is None or not self._output.is_closed()

    def has_page(self, path: bytes, headers: Headers) -> bool:
        """Whether a request is for an admin page, and permitted to read it.

        Any other one is for the S3 application, which rejects what is not permitted. In the
        virtual-hosted style, the path is that of a key.
        """
        if not path.startswith(ADMIN):
            return False
        try:
            request = parse("GET", path, b"", headers, buckets=self.buckets)
            self._check_site(request, pages=True)
        except S3Error:
            return False
        return not request.virtual

    def _check_site(self, request: Request, *, pages: bool = False) -> None:
        """Reject a request that a page of another site has caused; raises AccessDenied.

        A signed request is permitted from every page, by every name of the gateway: its Host is
        signed, and a form or a presigned URL may be made for any page. The probes (*pages*) are not
        signed, so no page reads them; load balancers do, by any name.
        """
        if not self.authenticated:
            check_host(request.host, self._hosts)
        # A preflight request is rejected in any case, with the error that S3 has for it.
        if pages or not (self.authenticated or request.method == PREFLIGHT):
            check_page(request.host, request.headers, self._hosts)

    def flush(self) -> None:
        """Make all acknowledged payload durable. This method blocks."""
        if self._output is not None:
            self._output.stage.flush()

    async def respond(self, head: RequestHead, body: RequestBody) -> Response:
        """Return the response to any request; raises only ClientDisconnected."""
        request_id = secrets.token_hex(8).upper()
        request: Request | None = None
        name: str | None = None
        writes, transferred, refused, counted = False, 0, 0, False
        try:
            request = parse(head.method, head.path, head.query, head.headers, buckets=self.buckets)
            name = request.bucket
            self._check_site(request)
            signed, anonymous = None, False
            if self._credentials is not None:
                anonymous = request.method == PREFLIGHT or is_authenticated_by_form(request)
                if not anonymous:
                    signed = verify(request, self._credentials, now=time.time())
            operation = route(request)
            check_payload_mode(request, streaming_allowed=operation.name in UPLOADS)
            writes = operation.writes
            if operation.name == "ListBuckets":
                response = self._list_buckets(request)
            elif operation.canned is not None:
                # A preflight request that is not authenticated learns nothing about the buckets.
                exists = anonymous or request.bucket in self.buckets
                response = xml(canned_responses.respond(operation, request, exists=exists))
            else:
                upload = None
                if operation.name == FORM_UPLOAD:
                    upload = await self._receive_form(request, body, signed)
                    request = upload.request
                context = Context(
                    request=request,
                    key=request.key or "",
                    bucket=self.find(name or ""),
                    application=self,
                    body=body,
                    signed=signed,
                    scheme=head.scheme,
                    upload=upload,
                )
                if writes:
                    output = self.writable(context.bucket)
                    with self.writes.track(f"{operation.name} {context.key}".rstrip()):
                        # After the write counts as in flight, so that no drain misses it.
                        epoch = output.begin()
                        response = await WRITES[operation.name](context, output, epoch)
                else:
                    response = await READS[operation.name](context)
                transferred = context.transferred
                counted = operation.name in OBJECT_TRANSFERS and response.status != NOT_MODIFIED
        except ClientDisconnected:
            raise
        except Exception as error:
            refused = 1
            response = self._refuse(error, request_id, request, head)
        if name is not None:
            self.counters.add(
                name, writes=writes, refused=refused, transferred=transferred, objects=int(counted)
            )
        if not self.authenticated and request is not None and is_of_browser(request.headers):
            response.headers.append(SANDBOX)
        response.headers.append((b"x-amz-request-id", request_id.encode()))
        response.headers.append((b"x-amz-id-2", self._host_id.encode()))
        response.headers.append(SERVER)
        return response

    def refuse_malformed(self, fault: S3Error) -> Response:
        """Return the response to bytes that are not a request."""
        request_id = secrets.token_hex(8).upper()
        response = error_response(fault, "/", request_id, self._host_id)
        response.headers.append((b"x-amz-request-id", request_id.encode()))
        response.headers.append((b"x-amz-id-2", self._host_id.encode()))
        response.headers.append(SERVER)
        return response

    async def _receive_form(
        self, request: Request, body: RequestBody, signed: Signed | None
    ) -> forms.FormUpload:
        """Receive the fields of a form, and check its signature and its policy."""
        if self._credentials is None or signed is not None:
            # As for every write, what can be refused from the head is refused before the body is
            # invited. A form that is yet to be authenticated learns nothing about the buckets.
            self.writable(self.find(request.bucket or ""))
        return await forms.receive_form(request, body, self._credentials, signed=signed is not None)

    def _list_buckets(self, request: Request) -> Response:
        rows = [(name, self._started) for name in self.buckets]
        query = bucket_listing.parse_buckets(request)
        page = bucket_listing.buckets_page(rows, query)
        return xml(bucket_listing.list_buckets(query, page))

    def find(self, name: str) -> Bucket:
        """Return the bucket *name*; raises NoSuchBucket."""
        if name in self.buckets:
            return self.buckets[name]
        names = ", ".join(f"s3://{each}" for each in sorted(self.buckets)) or "none"
        raise S3Error(
            "NoSuchBucket",
            f"The specified bucket does not exist. The buckets of this job: {names}.",
            BucketName=name,
        )

    def writable(self, bucket: Bucket) -> OutputBucket:
        """Return *bucket*, if it is writable; otherwise raise an error that names the one that is.

        Raises AccessDenied.
        """
        if isinstance(bucket, OutputBucket):
            return bucket
        remedy = f"write to s3://{OUT}" if self._output else "this job has no bucket to write to"
        raise S3Error("AccessDenied", f"`{bucket.name}` is a read-only input; {remedy}")

    def report(self, error: Exception) -> None:
        """Report to the job that *error* of the store or the gateway ended a valid request."""
        if self._plan is not None:
            write_report(self._plan.failure_report, error)

    def _refuse(
        self, error: Exception, request_id: str, request: Request | None, head: RequestHead
    ) -> Response:
        """Return the error document for *error*; log an internal error."""
        # Of a path that cannot be parsed, as much as a valid one could have, percent-encoded.
        sent = head.path[: 4 * MAX_KEY].decode("latin-1")
        resource = sent if request is None else request.resource
        fault = to_s3_error(error)
        if self._plan is not None and is_disk_full(error):
            path = getattr(error, "path", None)
            in_scratch = path is not None and Path(path).is_relative_to(self._plan.scratch)
            with suppress(OSError):
                (self._plan.scratch_full if in_scratch else self._plan.store_full).touch()
            if in_scratch:
                fault = S3Error("ServiceUnavailable", SCRATCH_FULL)
        if fault is not error and (fault.status >= 500 or isinstance(error, Denied)):
            self.report(error)
        if fault.status >= 500 and fault is not error:
            self.failures.error(
                str(error),
                request=request_id,
                resource=resource,
                # An error that is raised on purpose explains itself, and may be frequent.
                exc_info=not isinstance(error, WorkerError),
            )
        return error_response(fault, resource, request_id, self._host_id)


def to_s3_error(error: Exception) -> S3Error:
    """Return the S3 error that answers a request which *error* ended."""
    if isinstance(error, S3Error):
        return error
    if is_disk_full(error):
        return S3Error("ServiceUnavailable", STORE_FULL)
    code = s3_code_of(error)
    fields = {"NoSuchKey": ("Key", "key"), "NoSuchUpload": ("UploadId", "upload_id")}
    if code in fields and hasattr(error, fields[code][1]):
        name, attribute = fields[code]
        return S3Error(code, fields={name: getattr(error, attribute)})
    # The message of an internal error is not shown: it may contain paths of the agent.
    internal = code in ("InternalError", "ServiceUnavailable")
    return S3Error(code, None if internal else redact(str(error)))


def error_response(fault: S3Error, resource: str, request_id: str, host_id: str) -> Response:
    """Return the response with the error document of *fault*."""
    body = xml_responses.error(fault, resource=resource, request_id=request_id, host_id=host_id)
    headers = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
    return xml(body, headers, status=fault.status)


def open_application(plan: GatewayPlan, *, number: int, counters: Counters) -> S3Application:
    """Return the application of process *number* of the gateway. This function blocks."""
    store = open_store(plan.store, plan.store_options)
    reader = BlobReader(store.backend, scratch=plan.scratch)
    buckets: list[Bucket] = []
    descriptions = {}
    for served in plan.inputs:
        tree = store.tree(store.commit(served.commit))
        buckets.append(InputBucket(served.name, reader, tree))
        descriptions[served.name] = str(served.commit)
    if plan.output:
        stage = Stage(store.backend, plan.stage, writer=f"p{number}", scratch=plan.scratch)
        buckets.append(OutputBucket(reader, index=Index(plan.index), stage=stage))
        descriptions[OUT] = "the output of this job"
    return S3Application(
        buckets,
        job=plan.job,
        counters=counters,
        credentials=Credentials(plan.keys.access, plan.keys.secret) if plan.keys else None,
        descriptions=descriptions,
        plan=plan,
    )
