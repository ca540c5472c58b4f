"""Messages and documents of engines, as observed and as in their sources."""

import json

import pytest

from worker.redaction import hide
from worker.supervisor.engine_output import (
    CREATE_ERRORS,
    PULL_ERRORS,
    START_ERRORS,
    AgentId,
    ContainerState,
    EngineFailed,
    ImageDenied,
    ImageMissing,
    InvalidEngineOption,
    WorkerContainer,
    classify_error,
    container_name,
    init_error,
    is_abandoned,
    last_line,
    parse_containers,
    parse_image,
    parse_state,
)
from worker.supervisor.tree import NotStarted


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            {"StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 127, "Error": "no such file"},
            ContainerState(False, False, 127, False, "no such file"),
            id="never started, by Go's zero time",
        ),
        pytest.param(
            {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 3, "OOMKilled": True},
            ContainerState(True, False, 3, True),
            id="exited",
        ),
        pytest.param(
            {"StartedAt": "2026-11-22T20:53:46Z", "Running": True},
            ContainerState(True, True, 0, False),
            id="running",
        ),
    ],
)
def test_the_state_of_a_container_is_parsed(found, expected):
    assert expected == parse_state(json.dumps([{"State": found}]))


@pytest.mark.parametrize(
    ("found", "digest"),
    [
        pytest.param({"Id": "ab", "RepoDigests": ["x@sha256:1"]}, "x@sha256:1", id="registry"),
        pytest.param({"Id": "sha256:ab", "RepoDigests": []}, "sha256:ab", id="docker, local"),
        pytest.param({"Id": "ab", "RepoDigests": None}, "sha256:ab", id="podman, local"),
    ],
)
def test_the_digest_of_an_image_is_that_of_its_registry_or_else_its_id(found, digest):
    assert digest == parse_image("x", json.dumps([found])).digest


@pytest.mark.parametrize(
    ("patterns", "message", "kind"),
    [
        (PULL_ERRORS, "Error: manifest unknown: manifest unknown", ImageMissing),
        (PULL_ERRORS, 'Error: short-name "x" did not resolve to an alias', ImageMissing),
        (PULL_ERRORS, "pull access denied for x, repository does not exist", ImageDenied),
        (PULL_ERRORS, "unauthorized: authentication required", ImageDenied),
        (PULL_ERRORS, "dial tcp: lookup r.example: no such host", EngineFailed),
        (PULL_ERRORS, "Cannot connect to the Docker daemon at unix:///x", EngineFailed),
        (CREATE_ERRORS, "unknown flag: --nosuch", InvalidEngineOption),
        (CREATE_ERRORS, "no space left on device", EngineFailed),
        (START_ERRORS, 'exec: "x": executable file not found in $PATH: y', NotStarted),
        (START_ERRORS, 'exec: "/x": permission denied: OCI permission denied', NotStarted),
        (START_ERRORS, 'workdir "/n" does not exist on container 4b', NotStarted),
        (START_ERRORS, 'exec: "/n": stat /n: no such file or directory', NotStarted),
        (START_ERRORS, "crun: executable file `x` not found in $PATH: No such", NotStarted),
        (START_ERRORS, "crun: open executable: Permission denied: OCI", NotStarted),
        (
            START_ERRORS,
            "error setting rlimit type 7: operation not permitted: OCI permission denied",
            EngineFailed,
        ),
        (START_ERRORS, "cgroup: no such device", EngineFailed),
        (START_ERRORS, "", EngineFailed),
    ],
)
def test_a_message_of_an_engine_is_an_error_and_an_unknown_one_a_retryable_failure(
    patterns, message, kind
):
    assert kind is type(classify_error(patterns, message, "context"))


def test_a_secret_is_redacted_before_an_error_is_cut():
    hide([b"s3cr3t-value"])
    shown = last_line("x" * 995 + "s3cr3t-value")

    assert "s3cr" not in shown


def test_an_error_has_the_last_line_of_the_message_without_the_progress_before_it():
    error = classify_error(PULL_ERRORS, "Trying to pull x...\nError: manifest unknown\n", "image x")

    assert "image x: manifest unknown" == str(error)


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        pytest.param(
            1,
            ["ERROR (catatonit:6): failed to exec pid1: No such file"],
            "No such file",
            id="catatonit",
        ),
        pytest.param(
            127, ["[FATAL tini (7)] exec x failed: No such file"], "No such file", id="tini"
        ),
        pytest.param(
            3,
            ["ERROR (catatonit:6): failed to exec pid1: No such file"],
            None,
            id="another exit code",
        ),
        pytest.param(
            1,
            ["hello", "ERROR (catatonit:6): failed to exec pid1: No such file"],
            None,
            id="other output before it",
        ),
        pytest.param(1, [], None, id="no output"),
    ],
)
def test_an_init_that_cannot_start_the_command_is_distinguished_from_a_command(
    code, lines, expected
):
    assert expected == init_error(code, lines)


# --- abandoned containers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "job", "running", "expected"),
    [
        pytest.param("m/7/100", "other", True, False, id="its worker runs"),
        pytest.param("m/7/99", "other", True, True, id="another process reuses the worker's pid"),
        pytest.param("m/8/100", "other", True, True, id="its worker is gone"),
        pytest.param("elsewhere/8/1", "other", False, False, id="another job of another machine"),
        pytest.param("elsewhere/8/1", "ours", True, False, id="same job, running"),
        pytest.param("elsewhere/8/1", "ours", False, True, id="same job, not running"),
        pytest.param("nonsense", "ours", True, False, id="an unknown form of the label"),
    ],
)
def test_only_a_container_whose_worker_is_gone_is_abandoned(agent, job, running, expected):
    container = WorkerContainer("id", container_name(job, agent), job, agent, running)

    assert expected == is_abandoned(container, job="ours", machine="m", start_times={7: 100})


@pytest.mark.parametrize(
    "name",
    [
        *("db", "", "worker", "worker-", "worker-other-", "worker-other-0123abcd"),
        *("worker-other-0123abcd" + "0" * 24, container_name("other", "m/9/100", "0123abcd")),
        container_name("ours", "m/8/100", "0123abcd"),
    ],
)
def test_a_container_with_the_labels_of_a_worker_and_another_name_is_not_abandoned(name):
    """An image defines labels; the name of a container comes from the program that creates it."""
    container = WorkerContainer("id", name, "other", "m/8/100", running=False)

    assert not is_abandoned(container, job="other", machine="m", start_times={})


def test_names_of_containers_differ():
    assert 100 == len({container_name("j", "m/1/2") for _ in range(100)})


def test_the_id_of_an_agent_is_parsed_from_its_text_also_with_slashes_in_the_machine():
    agent = AgentId("boot/4026", 7, 100)

    assert agent == AgentId.parse(str(agent))


def test_containers_are_parsed_with_their_labels():
    labels = {"worker.job": "j", "worker.agent": "m/1/2"}
    found = [
        {"Id": "1", "Name": name, "Config": {"Labels": labels}, "State": {"Running": True}}
        for name in ("podman", "/docker")
    ]

    assert (
        WorkerContainer("1", "podman", "j", "m/1/2", True),
        WorkerContainer("1", "docker", "j", "m/1/2", True),
    ) == parse_containers(json.dumps(found))
    assert () == parse_containers("")
