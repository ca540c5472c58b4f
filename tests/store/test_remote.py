"""The backend in an object store, in memory and on an S3 server."""

import os
import re
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trio
from builders import an_id
from obstore.store import MemoryStore, S3Store
from store.backend_contract import BackendContract

from worker.errors import Cause, Invalid, Unavailable, cause_of
from worker.model import BranchName, Repo
from worker.store.backends.base import BucketMissing, ObjectMissing
from worker.store.backends.remote import RemoteBackend
from worker.store.checkin import put_directory
from worker.store.checkout import get_directory
from worker.store.opening import open_store
from worker.store.verify import verify


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self):
        return open_store(f"memory://{an_id()}").backend


class TestS3(BackendContract):
    @pytest.fixture
    def backend(self, s3_url, s3_options):
        return open_store(s3_url, s3_options).backend


def test_no_response_raises_unavailable_without_credentials():
    """The message is one line with the request and the address."""
    s3 = S3Store(
        "bucket",
        endpoint="http://127.0.0.1:1",
        region="us-east-1",
        access_key_id="AKIATEST",
        secret_access_key="very-secret",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )

    with pytest.raises(Unavailable, match="reading a/b") as caught:
        RemoteBackend(s3, "s3://bucket", first=s3).get("a/b")
    assert "\n" not in str(caught.value)
    assert "very-secret" not in str(caught.value)
    assert str(caught.value).endswith(": http://127.0.0.1:1/bucket/a/b: Connection refused")


def test_missing_credentials_are_named(monkeypatch):
    """The address alone, that of the metadata service, would not be understood."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    options = {"region": "us-east-1", "metadata_endpoint": "http://127.0.0.1:1"}
    backend = open_store("s3://bucket", options).backend

    with pytest.raises(Unavailable, match="no credentials are set, and the machine provides none"):
        backend.get("a")


async def _no_response(stream):
    await stream.receive_some()
    await trio.sleep_forever()


async def _closed(stream):
    await stream.receive_some()


async def _not_tls(stream):
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("scheme", "server", "reason"),
    [
        ("http", _no_response, "no response in time"),
        ("http", _closed, "the connection was closed without a response"),
        ("https", _not_tls, "TLS: InvalidMessage: InvalidContentType"),
    ],
)
async def test_the_error_for_a_request_without_a_response_has_the_reason(scheme, server, reason):
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        options = {"endpoint": f"{scheme}://127.0.0.1:{port}", "timeout": "1s", "region": "r"}
        options |= {"access_key_id": "key", "secret_access_key": "secret"}
        backend = open_store("s3://bucket", options).backend
        with pytest.raises(Unavailable) as caught:
            await trio.to_thread.run_sync(backend.get, "a")
        nursery.cancel_scope.cancel()

    assert str(caught.value).endswith(f"/bucket/a: {reason}")


def test_a_missing_bucket_is_not_an_empty_store(s3_options):
    backend = open_store("s3://no-such-bucket/prefix", s3_options).backend

    expected = re.escape("the bucket of s3://no-such-bucket/prefix does not exist; create it")
    with pytest.raises(BucketMissing, match=expected):
        backend.put("a", b"1")
    with pytest.raises(BucketMissing, match=expected):
        list(backend.list_from("a/"))
    with pytest.raises(BucketMissing, match=expected) as caught:
        backend.get("a")
    assert Cause.CONFIGURATION is cause_of(caught.value)


def test_an_endpoint_that_is_not_a_url_is_rejected():
    """The library would panic."""
    with pytest.raises(Invalid, match="'nonsense' is not http://HOST or https://HOST"):
        open_store("s3://bucket", {"endpoint": "nonsense"})


def test_the_error_for_wrong_credentials_contains_no_signature():
    """It has the code and the message of the service."""
    with forbidding(
        b"<?xml version='1.0'?>\n<Error><Code>SignatureDoesNotMatch</Code>"
        b"<Message>Check your key &amp; signing method.</Message>"
        b"<SignatureProvided>a-signature</SignatureProvided></Error>"
    ) as endpoint:
        options = {"endpoint": endpoint, "access_key_id": "a", "secret_access_key": "a-secret"}
        backend = open_store("s3://bucket", {**options, "region": "us-east-1"}).backend

        with pytest.raises(Unavailable) as caught:
            backend.get("a")
    assert (
        "store: reading a: SignatureDoesNotMatch: Check your key & signing method.; the worker "
        "needs permission to read and write the store"
    ) == str(caught.value)
    assert Cause.DENIED is cause_of(caught.value)


def test_requests_are_retried_for_longer_after_the_first_response():
    later, first = MemoryStore(), MemoryStore()
    backend = RemoteBackend(later, "memory://both", first=first)
    with pytest.raises(ObjectMissing):
        backend.get("a")
    backend.put("a", b"1")

    assert b"1" == bytes(later.get("a").bytes())


@contextmanager
def forbidding(body):
    """Serve 403 with *body* for every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_unknown_option_is_rejected(s3_options):
    with pytest.raises(Invalid, match="max_speed"):
        open_store("s3://bucket", {**s3_options, "max_speed": "11"})


def test_a_folder_has_the_same_digest_on_s3_and_in_a_directory(tmp_path, s3_url, s3_options):
    """On S3 it also verifies, and is checked out unchanged."""
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "small").write_bytes(b"1")
    (folder / "large").write_bytes(b"2" * (6 << 20))
    stores = (open_store(s3_url, s3_options), open_store(tmp_path / "store"))
    branch = BranchName(Repo("default", "lab"))
    commits = [put_directory(store, branch, folder) for store in stores]
    unwritten = get_directory(stores[0], commits[0], tmp_path / "target")

    assert commits[0].digest == commits[1].digest
    assert () == unwritten
    assert () == verify(stores[0]).defects
    assert (folder / "large").read_bytes() == (tmp_path / "target" / "large").read_bytes()
    assert commits[0] == put_directory(open_store(s3_url, s3_options), branch, folder)
