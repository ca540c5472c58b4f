"""The backend in an object store: in memory, and on an S3 server."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from builders import an_id
from obstore.store import MemoryStore, S3Store
from store.backend_contract import BackendContract

from worker.errors import Invalid, Unavailable
from worker.model import BranchName, Repo
from worker.store.backends.base import ObjectMissing
from worker.store.backends.remote import RemoteBackend
from worker.store.checkin import put_directory
from worker.store.checkout import get_directory
from worker.store.repository import open_store
from worker.store.verify import verify


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self):
        return open_store(f"memory://{an_id()}").backend


class TestS3(BackendContract):
    @pytest.fixture
    def backend(self, s3_url, s3_options):
        return open_store(s3_url, s3_options).backend


def test_a_service_that_is_not_there_is_named():
    """Where nothing listens, the error says what was asked for, in a line, without credentials."""
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


def test_a_bucket_that_is_not_there_is_named(s3_options):
    """A bucket that does not exist is an error, not an empty store."""
    backend = open_store("s3://no-such-bucket/prefix", s3_options).backend

    with pytest.raises(Unavailable, match="bucket does not exist"):
        backend.put("a", b"1")
    with pytest.raises(Unavailable, match="bucket does not exist"):
        list(backend.list_from("a/"))
    with pytest.raises(Unavailable, match="bucket does not exist"):
        backend.get("a")


def test_an_endpoint_that_is_no_url_is_refused():
    """What the library would panic at is refused before it is asked."""
    with pytest.raises(Invalid, match="'nonsense' is not http://HOST or https://HOST"):
        open_store("s3://bucket", {"endpoint": "nonsense"})


def test_wrong_credentials_are_named_without_a_signature():
    """Of what the service says, its code and message are told, and nothing to sign with."""
    with refusing(
        b"<?xml version='1.0'?>\n<Error><Code>SignatureDoesNotMatch</Code>"
        b"<Message>Check your key &amp; signing method.</Message>"
        b"<SignatureProvided>a-signature</SignatureProvided></Error>"
    ) as endpoint:
        options = {"endpoint": endpoint, "access_key_id": "a", "secret_access_key": "a-secret"}
        backend = open_store("s3://bucket", {**options, "region": "us-east-1"}).backend

        with pytest.raises(Unavailable) as caught:
            backend.get("a")
    assert "store: reading a: SignatureDoesNotMatch: Check your key & signing method." == str(
        caught.value
    )


def test_a_store_that_answered_once_is_waited_for():
    """Until it has answered, a store is asked with little patience; then with much."""
    patient, hasty = MemoryStore(), MemoryStore()
    backend = RemoteBackend(patient, "memory://both", first=hasty)
    with pytest.raises(ObjectMissing):
        backend.get("a")
    backend.put("a", b"1")

    assert b"1" == bytes(patient.get("a").bytes())


@contextmanager
def refusing(body):
    """Serve 403 with *body* to everybody."""

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


def test_an_unknown_option_is_refused(s3_options):
    """An option that the service does not have is named."""
    with pytest.raises(Invalid, match="max_speed"):
        open_store("s3://bucket", {**s3_options, "max_speed": "11"})


def test_a_folder_is_the_same_tree_on_s3(tmp_path, s3_url, s3_options):
    """What is put on S3 has the digest that it has in a directory, verifies, and comes back."""
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
