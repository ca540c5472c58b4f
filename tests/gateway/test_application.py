"""The S3 application: authentication, and internal errors."""

import io

import pytest
import requests
from botocore.auth import HmacV1QueryAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from gateways import a_plan
from trio.to_thread import run_sync as in_thread

from worker import telemetry
from worker.gateway import application
from worker.gateway.application import READS, WRITES
from worker.gateway.messages import KeyPair
from worker.s3.routing import OPERATIONS


def test_every_operation_without_a_canned_response_has_a_handler():
    """And every handler belongs to an operation of the routing table."""
    reads, writes = (
        {each.name for each in OPERATIONS if each.canned is None and each.writes is writes}
        for writes in (False, True)
    )

    assert reads - {"ListBuckets"} == set(READS)
    assert writes == set(WRITES)


@pytest.mark.parametrize("version", ["s3v4", "s3"])
async def test_signed_requests_are_served(locked, version):
    """The signature is in a header, or in the query of a presigned URL; of objects and buckets."""
    client = locked.client(keys=("AKIAJOB", "secret"), signature_version=version)

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"data")
        listed = client.list_objects_v2(Bucket="out")["Contents"]
        listing = client.generate_presigned_url("list_objects_v2", Params={"Bucket": "out"})
        url = client.generate_presigned_url("get_object", Params={"Bucket": "out", "Key": "k"})
        found = [requests.get(each, timeout=10) for each in (url, listing)]
        return [each["Key"] for each in listed], *(each.content for each in found)

    keys, content, listing = await in_thread(use)

    assert ["k"] == keys
    assert b"data" == content
    assert b"<Key>k</Key>" in listing


BOTO = Credentials("AKIAJOB", "secret")


@pytest.mark.parametrize(
    "signer",
    [S3SigV4QueryAuth(BOTO, "s3", "us-east-1"), HmacV1QueryAuth(BOTO)],
    ids=["sigv4", "sigv2"],
)
async def test_a_condition_in_a_presigned_url_protects_an_object(locked, signer):
    """SDKs move ``If-None-Match`` from the headers into the query."""
    request = AWSRequest("PUT", f"{locked.url}/out/k?If-None-Match=%2A")
    signer.add_auth(request)

    def use():
        puts = [requests.put(request.url, data=data, timeout=10) for data in (b"old", b"new")]
        client = locked.client(keys=("AKIAJOB", "secret"))
        return [put.status_code for put in puts], client.get_object(Bucket="out", Key="k")[
            "Body"
        ].read()

    assert ([200, 412], b"old") == await in_thread(use)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("AKIAJOB", "wrong"), "SignatureDoesNotMatch"),
        (("AKIAOTHER", "secret"), "InvalidAccessKeyId"),
    ],
)
async def test_wrong_signatures_are_rejected(locked, keys, expected):
    """Neither another secret nor another access key is accepted."""
    client = locked.client(keys=keys)

    def use():
        with pytest.raises(ClientError) as caught:
            client.list_objects_v2(Bucket="out")
        return caught.value.response["Error"]["Code"]

    assert expected == await in_thread(use)


@pytest.mark.parametrize("path", ["/", "/out", "/out/k", "/labresults/a.txt"])
async def test_unsigned_requests_are_denied(locked, path):
    """With authentication, every operation requires a signature."""
    response = await locked.send_request(
        b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % path.encode()
    )

    assert response.startswith(b"HTTP/1.1 403 ")
    assert b"<Code>AccessDenied</Code>" in response


@pytest.mark.parametrize("path", ["/", "/out", "/out/k", "/nowhere/k"])
async def test_preflight_requests_need_no_signature(locked, path):
    """Browsers do not sign them. They do not learn which buckets exist."""
    response = await locked.send_request(
        b"OPTIONS %s HTTP/1.1\r\nhost: localhost\r\norigin: http://b\r\nconnection: close\r\n\r\n"
        % path.encode()
    )

    assert response.startswith(b"HTTP/1.1 403 ")
    assert b"<Code>AccessForbidden</Code>" in response
    assert b"CORS is not enabled for this bucket" in response


async def test_an_unexpected_exception_is_an_internal_error(gateway, monkeypatch):
    """The log has the request id of the error document, and the traceback."""
    shown = io.StringIO()
    telemetry.configure("json", stream=shown)
    broken = {**READS, "GetObject": lambda _context: 1 / 0}
    monkeypatch.setattr(application, "READS", broken)
    response = await gateway.send_request(
        b"GET /out/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    request_id = response.partition(b"x-amz-request-id: ")[2].partition(b"\r")[0].decode()

    assert response.startswith(b"HTTP/1.1 500 ")
    assert b"<Code>InternalError</Code>" in response
    assert request_id in shown.getvalue()
    assert "ZeroDivisionError" in shown.getvalue()


def test_the_representation_of_a_plan_omits_the_secret_key(tmp_path):
    """A plan may appear in a traceback."""
    assert "hush" not in repr(a_plan(tmp_path, keys=KeyPair("AKIA", "hush")))
