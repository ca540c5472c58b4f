"""A refusal as an answer: S3's error document, and ids that agree between it and the headers."""

import base64
import secrets

from worker.gateway.call import document
from worker.gateway.exchange import Answer, Headers
from worker.s3 import documents
from worker.s3.errors import S3Error


def new_request_id() -> str:
    """Return the id of a request, by which its answer can be found in the log."""
    return secrets.token_hex(8).upper()


def new_host_id() -> str:
    """Return an id as S3's hosts have them."""
    return base64.b64encode(secrets.token_bytes(24)).decode()


def identity(request_id: str, host_id: str) -> Headers:
    """Return the headers by which every answer says which one it is."""
    return [
        (b"x-amz-request-id", request_id.encode()),
        (b"x-amz-id-2", host_id.encode()),
        (b"server", b"worker"),
    ]


def refusal(
    fault: S3Error, *, resource: str, request_id: str | None = None, host_id: str | None = None
) -> Answer:
    """Return the answer that says *fault*, whole with its ids; without given ones, new ones."""
    request_id, host_id = request_id or new_request_id(), host_id or new_host_id()
    body = documents.error(fault, resource=resource, request_id=request_id, host_id=host_id)
    answer = document(body, fault.headers, status=fault.status)
    answer.headers.extend(identity(request_id, host_id))
    return answer
