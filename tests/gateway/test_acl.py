"""Access control lists over HTTP: only that of every object is accepted."""

import pytest
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread

SOMEONE = "0123456789abcdef" * 4


async def test_the_acl_of_an_object_can_be_put_back(gateway):
    """Clients copy the ACL with an object."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"")
        read = client.get_object_acl(Bucket="out", Key="k")
        policy = {name: read[name] for name in ("Owner", "Grants")}
        client.put_object_acl(Bucket="out", Key="k", AccessControlPolicy=policy)
        return client.put_object_acl(Bucket="out", Key="k", ACL="private")

    assert 200 == (await in_thread(use))["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("rights", "code"),
    [
        pytest.param({"ACL": "public-read"}, "AccessControlListNotSupported", id="everyone"),
        pytest.param({"GrantRead": f"id={SOMEONE}"}, "AccessControlListNotSupported", id="someone"),
        pytest.param({"ACL": "everybody"}, "InvalidArgument", id="unknown"),
        pytest.param({"ACL": "private", "GrantRead": "id=x"}, "InvalidRequest", id="two kinds"),
        pytest.param({}, "MissingSecurityHeader", id="none"),
        pytest.param({"AccessControlPolicy": {}}, "MalformedACLError", id="no grant"),
        pytest.param({"Key": "none", "ACL": "private"}, "NoSuchKey", id="of no object"),
        pytest.param({"Bucket": "labresults", "ACL": "private"}, "AccessDenied", id="an input"),
    ],
)
async def test_other_acls_are_rejected(gateway, rights, code):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"")
        with pytest.raises(ClientError) as refused:
            client.put_object_acl(**{"Bucket": "out", "Key": "k", **rights})
        return refused.value.response["Error"]["Code"]

    assert code == await in_thread(use)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("delete_object", {"Key": "k"}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": "k"}]}}),
    ],
)
async def test_deletes_do_not_bypass_object_lock(gateway, name, arguments):
    """No bucket has it, so S3 rejects the header."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"")
        with pytest.raises(ClientError) as refused:
            getattr(client, name)(Bucket="out", BypassGovernanceRetention=True, **arguments)
        client.head_object(Bucket="out", Key="k")
        return refused.value.response["Error"]

    error = await in_thread(use)
    assert "InvalidArgument" == error["Code"]
    assert "x-amz-bypass-governance-retention" == error["ArgumentName"]


async def test_a_missing_object_has_no_acl(gateway):
    client = gateway.client()

    def use():
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object_acl(Bucket="out", Key="nothing")

    await in_thread(use)


@pytest.mark.parametrize(
    ("method", "query"),
    [("DELETE", "retention"), ("DELETE", "acl"), ("PUT", "uploads"), ("PUT", "select")],
)
async def test_a_subresource_without_the_method_leaves_the_object(gateway, method, query):
    client = gateway.client()
    await in_thread(lambda: client.put_object(Bucket="out", Key="k", Body=b"data"))

    answer = await gateway.send_request(
        f"{method} /out/k?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )

    assert answer.startswith(b"HTTP/1.1 405 ")
    found = await in_thread(lambda: client.get_object(Bucket="out", Key="k"))
    assert b"data" == await in_thread(found["Body"].read)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        pytest.param("k", "InvalidObjectState", id="not archived"),
        pytest.param("none", "NoSuchKey", id="missing"),
    ],
)
async def test_no_object_can_be_restored(gateway, key, code):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"", StorageClass="GLACIER")
        with pytest.raises(ClientError) as refused:
            client.restore_object(Bucket="out", Key=key, RestoreRequest={"Days": 1})
        return refused.value.response["Error"]["Code"]

    assert code == await in_thread(use)
