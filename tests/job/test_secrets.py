"""Secrets of a job."""

import stat
from typing import Any

import pytest

from worker.directories import open_directory
from worker.job.secrets import (
    SecretFile,
    SecretFileConflict,
    SecretMissing,
    find_secrets,
    secret_values,
    without_secrets,
    write_secrets,
)
from worker.spec.pipeline import Secret

AS_VARIABLE = Secret("db", "user-name", "DB_USER", None)
AS_FILES = Secret("db", None, None, "/etc/db")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "user-name").write_text("ada\n")
    (tmp_path / "db" / "..data").mkdir()
    return tmp_path


def test_a_key_is_a_file_below_the_secret(folder):
    """As Kubernetes mounts it; a trailing newline is removed."""
    assert {"DB_USER": "ada"} == find_secrets([AS_VARIABLE], folder, {}).variables


def test_a_key_can_be_a_variable_of_the_agent():
    """In capitals, with underscores."""
    environment = {"WORKER_SECRET_DB_USER_NAME": "ada"}

    assert {"DB_USER": "ada"} == find_secrets([AS_VARIABLE], None, environment).variables


def test_a_secret_without_a_key_is_mounted_with_all_keys(folder):
    assert (SecretFile("/etc/db", "user-name", b"ada\n"),) == find_secrets(
        [AS_FILES], folder, {}
    ).files


def test_all_values_are_redacted(folder):
    assert (b"ada", b"ada\n") == find_secrets([AS_VARIABLE, AS_FILES], folder, {}).values


def test_representations_contain_no_values(folder):
    assert "ada" not in repr(find_secrets([AS_VARIABLE, AS_FILES], folder, {}))


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (Secret("db", "none", "X", None), r"not found in .*/db/none or \$WORKER_SECRET_DB_NONE"),
        (Secret("none", None, None, "/x"), r"not found in .*/none or \$WORKER_SECRET_NONE_…"),
        (Secret("..", "db", "X", None), "contain no slash"),
        (Secret("db", "../db/user-name", "X", None), "contain no slash"),
    ],
    ids=["no key", "no secret", "dots", "path"],
)
def test_a_missing_secret_is_reported_with_its_possible_places(folder, secret, reason):
    """No name leads out of the folder."""
    with pytest.raises(SecretMissing, match=reason):
        find_secrets([secret], folder, {})


@pytest.mark.parametrize("path", ["/../../etc/db", "//etc/db", "///etc/./db/"])
def test_secret_files_are_below_their_root(tmp_path, path):
    """Readable by their owner only."""
    write_secrets([SecretFile(path, "k", b"v")], open_directory(tmp_path), owner=None)
    file = tmp_path / "etc" / "db" / "k"

    assert b"v" == file.read_bytes()
    assert 0o400 == stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/lab", "k"), ("/lab", "k")),
        (("/lab", "k"), ("/lab/k", "x")),
        (("/a/b", "k"), ("/a", "b")),
    ],
    ids=["same path", "below a file", "above a folder"],
)
def test_each_secret_has_a_path_of_its_own(tmp_path, first, second):
    """The message names the path and the remedy."""
    files = [SecretFile(path, name, b"v") for path, name in (first, second)]

    with pytest.raises(SecretFileConflict, match=f"{second[0]}/{second[1]}: .*mountPath"):
        write_secrets(files, open_directory(tmp_path), owner=None)


@pytest.mark.parametrize("name", ["PGPASSWORD", "API_TOKEN", "Secret", "X_API_KEY", "PRIVATE_KEY"])
def test_a_variable_with_a_secret_name_is_secret(name):
    """It is redacted, and not part of provenance."""
    document: dict[str, Any] = {
        "a": 1,
        "transform": {"cmd": ["sh"], "env": {name: "value", "LEVEL": "debug"}},
    }
    kept = without_secrets(document)

    assert (b"value",) == secret_values(document["transform"]["env"])
    assert {name: "***", "LEVEL": "debug"} == kept["transform"]["env"]
    assert "value" == document["transform"]["env"][name]


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "AWS_ACCESS_KEY_ID"])
def test_a_variable_with_a_similar_name_is_not_secret(name):
    assert () == secret_values({name: "value"})


def test_a_document_without_variables_is_unchanged():
    assert {"transform": {"cmd": ["sh"]}} == without_secrets({"transform": {"cmd": ["sh"]}})
