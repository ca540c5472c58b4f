"""Access rights over HTTP: they can be read, and written only as they are."""

import pytest
from botocore.exceptions import ClientError
from trio.to_thread import run_sync as in_thread


async def test_rights_that_were_read_can_be_written_back(gateway):
    """A client that copies an object's rights with it goes on from there."""
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
async def test_other_rights_are_refused(gateway, rights, code):
    """No object of a job can be anyone's but its own."""
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"")
        with pytest.raises(ClientError) as refused:
            client.put_object_acl(**{"Bucket": "out", "Key": "k", **rights})
        return refused.value.response["Error"]["Code"]

    assert code == await in_thread(use)
