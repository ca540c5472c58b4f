import stat
from typing import Any

import pytest

from worker.job.secrets import (
    SecretFile,
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


def test_a_key_is_a_file_of_the_folder(folder):
    """As Kubernetes mounts it, without the newline that editors add."""
    assert {"DB_USER": "ada"} == find_secrets([AS_VARIABLE], folder, {}).variables


def test_a_key_can_be_a_variable_of_the_agent():
    """In capitals, with underscores for all else."""
    environment = {"WORKER_SECRET_DB_USER_NAME": "ada"}

    assert {"DB_USER": "ada"} == find_secrets([AS_VARIABLE], None, environment).variables


def test_without_a_key_every_key_is_a_file(folder):
    """A whole secret is mounted."""
    assert (SecretFile("/etc/db", "user-name", b"ada\n"),) == find_secrets(
        [AS_FILES], folder, {}
    ).files


def test_all_values_are_to_be_hidden(folder):
    """Whichever way they are given."""
    assert (b"ada", b"ada\n") == find_secrets([AS_VARIABLE, AS_FILES], folder, {}).values


def test_values_are_in_no_text_of_the_value_itself(folder):
    """A secret that is logged by mistake shows nothing."""
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
    """And no name leads out of the folder."""
    with pytest.raises(SecretMissing, match=reason):
        find_secrets([secret], folder, {})


def test_files_stay_below_their_root(tmp_path):
    """A mountPath is a path in there, and readable by its owner alone."""
    write_secrets([SecretFile("/../../etc/db", "k", b"v")], tmp_path, owner=None)
    file = tmp_path / "etc" / "db" / "k"

    assert b"v" == file.read_bytes()
    assert 0o400 == stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("name", ["PGPASSWORD", "API_TOKEN", "Secret", "X_API_KEY", "PRIVATE_KEY"])
def test_a_telling_name_makes_a_value_secret(name):
    """It is hidden from logs, and not kept with the document."""
    document: dict[str, Any] = {
        "a": 1,
        "transform": {"cmd": ["sh"], "env": {name: "value", "LEVEL": "debug"}},
    }
    kept = without_secrets(document)

    assert (b"value",) == secret_values(document["transform"]["env"])
    assert {name: "***", "LEVEL": "debug"} == kept["transform"]["env"]
    assert "value" == document["transform"]["env"][name]


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "AWS_ACCESS_KEY_ID"])
def test_a_name_that_only_sounds_alike_does_not(name):
    """It stays as it is."""
    assert () == secret_values({name: "value"})


def test_a_document_without_variables_is_kept_as_it_is():
    """Nothing is added to it."""
    assert {"transform": {"cmd": ["sh"]}} == without_secrets({"transform": {"cmd": ["sh"]}})
