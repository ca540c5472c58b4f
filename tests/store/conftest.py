"""Fixtures of stores: in a directory, in memory, and on an S3 server in a child process."""

import subprocess
import sys

import boto3
import pytest
from builders import an_id

from worker.store.opening import open_store

MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="session")
def s3_endpoint():
    """The URL of a running S3 server, which exits at the end of its standard input."""
    with subprocess.Popen(
        [sys.executable, "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


@pytest.fixture
def s3_options(s3_endpoint):
    """Options for ``open_store`` to reach the S3 server."""
    return {
        "endpoint": s3_endpoint,
        "region": "us-east-1",
        "access_key_id": "test",
        "secret_access_key": "test",
    }


@pytest.fixture
def s3_url(s3_endpoint):
    """The URL of an empty store on the S3 server."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="stores")
    return f"s3://stores/{an_id()}/deep"


@pytest.fixture(params=["directory", "memory"])
def store(request, tmp_path):
    """An empty store."""
    where = str(tmp_path / "store") if request.param == "directory" else f"memory://{an_id()}"
    return open_store(where)


@pytest.fixture
def local(tmp_path):
    """An empty store in a directory."""
    return open_store(tmp_path / "store")
