"""Access control lists over HTTP: only that of every object is accepted."""

import pytest
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread


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
        pytest.param({"GrantRead": "id=x"}, "AccessControlListNotSupported", id="someone"),
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
