"""Opening a store from a path or a URL."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_commit

from worker.errors import Misconfigured
from worker.model import Repo
from worker.store.opening import open_store


def test_a_path_and_a_file_url_open_the_same_store(tmp_path):
    """The path of a URL is percent-decoded."""
    a_commit(open_store(tmp_path / "a store"), {"a": b"1"})

    for where in (str(tmp_path / "a store"), f"file://{tmp_path}/a%20store"):
        assert [Repo("default", "labresults")] == list(open_store(where).repos())


def test_a_relative_path_is_resolved_once(tmp_path, monkeypatch):
    """A store does not move when the process changes its directory, nor when it is opened again."""
    monkeypatch.chdir(tmp_path)
    store = open_store("store")
    monkeypatch.chdir("/")
    a_commit(store, {"a": b"1"})

    assert (tmp_path / "store" / "repos").is_dir()
    assert [Repo("default", "labresults")] == list(open_store(store.backend.url).repos())


def test_a_store_in_memory_belongs_to_the_process():
    """Its URL opens the same store again."""
    a_commit(open_store("memory://shared"), {"a": b"1"})

    assert 1 == len(list(open_store("memory://shared").repos()))
    assert 0 == len(list(open_store("memory://other").repos()))


def test_endpoint_and_credentials_are_read_from_the_environment(s3_url, s3_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    store = open_store(s3_url)
    commit = a_commit(store, {"a": b"1"})

    assert commit == open_store(store.backend.url).commit(commit.name)


def test_a_file_is_rejected(tmp_path):
    """It is not taken for an empty store."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Misconfigured, match="file is not a directory"):
        open_store(tmp_path / "file")


@pytest.mark.parametrize(
    "where", ["ftp://host/store", "file://elsewhere/store", "file://", "s3://", "s3:///prefix"]
)
def test_other_urls_are_rejected(where):
    with pytest.raises(Misconfigured, match="store"):
        open_store(where)


@pytest.mark.parametrize("where", ["s3://", "gs:///prefix", "az://"])
def test_a_url_without_a_bucket_is_rejected_with_the_right_form(where):
    scheme = where.partition(":")[0]

    with pytest.raises(Misconfigured, match=f"expected a bucket .* {scheme}://bucket/prefix"):
        open_store(where)


def test_credentials_in_a_url_are_rejected_and_not_shown():
    with pytest.raises(Misconfigured) as caught:
        open_store("s3://AKIA:secret@bucket/prefix")
    assert "secret" not in str(caught.value)


def test_a_directory_does_not_load_the_object_store_library():
    """The library takes time to load."""
    code = "import sys, worker.store.checkin, worker.store.opening as o; o.open_store('.');"
    code += "print('obstore' in sys.modules)"
    root = Path(__file__).parents[2]

    assert "False\n" == subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
