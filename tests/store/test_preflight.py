"""Preflight: a store that cannot hold commits is rejected before the work, not after it."""

import ctypes
import errno
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from worker.errors import Misconfigured, cause_of
from worker.model import BranchName, Repo
from worker.store.backends.base import AlreadyThere, NoPutIfAbsent, StoreUnavailable
from worker.store.backends.local import LocalBackend
from worker.store.blobs import Stage
from worker.store.checkin import put_directory
from worker.store.opening import open_store


def stage_on(backend, tmp_path) -> Stage:
    return Stage(backend, "job", writer="w", scratch=tmp_path / "scratch")


@pytest.fixture(params=["EPERM", "EOPNOTSUPP", "ENOSYS"])
def _no_hard_links(request, monkeypatch):
    """A file system without hard links, with the errors of Linux, FUSE and others."""

    def link(*_arguments):
        code = getattr(errno, request.param)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)


@pytest.fixture
def _no_rename(monkeypatch):
    """A file system without RENAME_NOREPLACE."""

    class Library:
        def __init__(self, *_arguments, **_named):
            pass

        def renameat2(self, *_arguments):
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Library)


@pytest.mark.usefixtures("_no_hard_links")
def test_rename_noreplace_replaces_missing_hard_links(tmp_path):
    """It is atomic, and only one of two writers succeeds."""
    backend = LocalBackend(tmp_path / "store")
    stage_on(backend, tmp_path).preflight()
    backend.put_new("slot", b"1")
    backend.put_new("slot", b"1")
    with pytest.raises(AlreadyThere):
        backend.put_new("slot", b"2")

    assert b"1" == backend.get("slot")
    assert ["slot"] == [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("_no_hard_links", "_no_rename")
def test_a_file_system_without_hard_links_and_rename_noreplace_is_rejected(tmp_path):
    """The error has the store, the cause and the remedy, and is one of the configuration."""
    (tmp_path / "folder").mkdir()
    store = open_store(tmp_path / "store")
    with pytest.raises(NoPutIfAbsent, match="neither hard links nor RENAME_NOREPLACE") as caught:
        put_directory(store, BranchName(Repo("default", "lab")), tmp_path / "folder")

    assert 78 == cause_of(caught.value).exit_status
    assert str(tmp_path / "store") in str(caught.value)
    assert [] == [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


@contextmanager
def object_store(*, conditional: int | None):
    """Serve S3 with the status *conditional* for a conditional PUT; None ignores the condition."""
    objects: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self, status, body=b""):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("etag", '"1"')
            self.send_header("last-modified", "Sun, 22 Nov 2026 22:45:37 GMT")
            self.end_headers()
            self.wfile.write(body)

        def body(self):
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def do_PUT(self):
            data = self.body()
            if "if-none-match" in self.headers and conditional is not None:
                self.respond(conditional, b"<Error><Code>NotImplemented</Code></Error>")
                return
            objects[self.path] = data
            self.respond(200)

        def do_POST(self):
            self.body()
            objects.clear()
            self.respond(200, b"<DeleteResult></DeleteResult>")

        def do_GET(self):
            if "list-type" in self.path:
                self.respond(200, b"<ListBucketResult></ListBucketResult>")
            else:
                self.respond(200 if self.path in objects else 404, objects.get(self.path, b""))

        do_DELETE = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("conditional", "cause"),
    [(501, "put-if-absent"), (None, "it replaces an existing object")],
    ids=["rejects the condition", "ignores the condition"],
)
def test_an_object_store_without_conditional_writes_is_rejected(tmp_path, conditional, cause):
    with object_store(conditional=conditional) as endpoint:
        options = {"endpoint": endpoint, "access_key_id": "a", "secret_access_key": "b"}
        backend = open_store("s3://bucket/prefix", {**options, "region": "us-east-1"}).backend
        with pytest.raises(Misconfigured, match=cause):
            stage_on(backend, tmp_path).preflight()


def test_a_store_that_cannot_be_written_to_is_unavailable(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blobs").write_text("in the way")
    backend = LocalBackend(tmp_path / "store")
    with pytest.raises(StoreUnavailable, match="ENOTDIR"):
        stage_on(backend, tmp_path).preflight()
