"""Who may ask, and what becomes of what nobody expected."""

import io

import pytest
import requests
from botocore.exceptions import ClientError
from gateways import a_plan
from trio.to_thread import run_sync as in_thread

from worker import telemetry
from worker.gateway import application as service
from worker.gateway.application import HANDLERS
from worker.gateway.messages import KeyPair
from worker.s3.routing import RULES


def test_every_operation_is_answered():
    """What the routing table does not answer itself has a handler, and no handler is idle."""
    unanswered = {rule.operation.name for rule in RULES if rule.operation.answer is None} - {
        "ListBuckets"
    }

    assert unanswered == set(HANDLERS)


async def test_signed_requests_are_let_in(locked):
    """With the job's key pair everything works: headers, presigned, chunks with signatures."""
    client = locked.client(keys=("AKIAJOB", "secret"))

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data")
        url = client.generate_presigned_url("get_object", Params={"Bucket": "out", "Key": "k"})
        return requests.get(url, timeout=10).content

    assert b"data" == await in_thread(use)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("AKIAJOB", "wrong"), "SignatureDoesNotMatch"),
        (("AKIAOTHER", "secret"), "InvalidAccessKeyId"),
    ],
)
async def test_wrong_signatures_are_refused(locked, keys, expected):
    """Neither another secret nor another key opens the buckets."""
    client = locked.client(keys=keys)

    def use():
        with pytest.raises(ClientError) as caught:
            client.list_objects_v2(Bucket="out")
        return caught.value.response["Error"]["Code"]

    assert expected == await in_thread(use)


@pytest.mark.parametrize("path", ["/", "/out", "/out/k", "/labresults/a.txt"])
async def test_unsigned_requests_are_refused(locked, path):
    """With authentication on, nobody reads anything without a signature."""
    answer = await locked.ask(
        b"GET %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path.encode()
    )

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"<Code>AccessDenied</Code>" in answer


async def test_a_failure_of_our_own_is_an_error_document(gateway, monkeypatch):
    """What nobody expected is InternalError with an id that the log has too."""
    shown = io.StringIO()
    telemetry.configure("json", stream=shown)
    broken = {**HANDLERS, "GetObject": lambda _call: 1 / 0}
    monkeypatch.setattr(service, "HANDLERS", broken)
    answer = await gateway.ask(b"GET /out/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    request_id = answer.partition(b"x-amz-request-id: ")[2].partition(b"\r")[0].decode()

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"<Code>InternalError</Code>" in answer
    assert request_id in shown.getvalue()
    assert "ZeroDivisionError" in shown.getvalue()


def test_a_plan_says_nothing_of_its_secret(tmp_path):
    """The secret key is in no text that is made of a plan."""
    assert "hush" not in repr(a_plan(tmp_path, keys=KeyPair("AKIA", "hush")))
