"""What the words of engines mean, as they were seen and as their sources have them."""

import json

import pytest

from worker.supervisor import engine_output as answers
from worker.supervisor.engine_output import (
    Agent,
    EngineFailed,
    EngineOptionWrong,
    ImageMissing,
    ImageRefused,
    Seen,
    State,
    abandoned,
    error_of,
    read_containers,
    read_image,
    read_state,
    refused_by_init,
)
from worker.supervisor.tree import NotStarted


def test_how_a_container_stands():
    """The zero time of both engines means never."""
    never = {"StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 127, "Error": "no such file"}
    ended = {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 3, "OOMKilled": True}

    assert State(False, False, 127, False, "no such file") == read_state(
        json.dumps([{"State": never}])
    )
    assert State(True, False, 3, True) == read_state(json.dumps([{"State": ended}]))


@pytest.mark.parametrize(
    ("found", "digest"),
    [
        pytest.param({"Id": "ab", "RepoDigests": ["x@sha256:1"]}, "x@sha256:1", id="of a registry"),
        pytest.param({"Id": "sha256:ab", "RepoDigests": []}, "sha256:ab", id="docker, made here"),
        pytest.param({"Id": "ab", "RepoDigests": None}, "sha256:ab", id="podman, made here"),
    ],
)
def test_what_names_exactly_this_image(found, digest):
    """The digest of its registry, or else its id."""
    assert digest == read_image("x", json.dumps([found])).digest


@pytest.mark.parametrize(
    ("meanings", "said", "kind"),
    [
        (answers.OF_PULL, "Error: manifest unknown: manifest unknown", ImageMissing),
        (answers.OF_PULL, 'Error: short-name "x" did not resolve to an alias', ImageMissing),
        (answers.OF_PULL, "pull access denied for x, repository does not exist", ImageRefused),
        (answers.OF_PULL, "unauthorized: authentication required", ImageRefused),
        (answers.OF_PULL, "dial tcp: lookup r.example: no such host", EngineFailed),
        (answers.OF_PULL, "Cannot connect to the Docker daemon at unix:///x", EngineFailed),
        (answers.OF_CREATE, "unknown flag: --nosuch", EngineOptionWrong),
        (answers.OF_CREATE, "no space left on device", EngineFailed),
        (answers.OF_START, 'exec: "x": executable file not found in $PATH: y', NotStarted),
        (answers.OF_START, 'exec: "/x": permission denied: OCI permission denied', NotStarted),
        (answers.OF_START, 'workdir "/n" does not exist on container 4b', NotStarted),
        (answers.OF_START, 'exec: "/n": stat /n: no such file or directory', NotStarted),
        (answers.OF_START, "crun: executable file `x` not found in $PATH: No such", NotStarted),
        (answers.OF_START, "crun: open executable: Permission denied: OCI", NotStarted),
        (
            answers.OF_START,
            "error setting rlimit type 7: operation not permitted: OCI permission denied",
            EngineFailed,
        ),
        (answers.OF_START, "cgroup: no such device", EngineFailed),
        (answers.OF_START, "", EngineFailed),
    ],
)
def test_what_an_engine_says_has_a_meaning(meanings, said, kind):
    """What is not known is a failure of the engine's own, worth another try."""
    assert kind is type(error_of(meanings, said, "what"))


def test_an_error_shows_the_last_line():
    """Progress comes before it."""
    error = error_of(answers.OF_PULL, "Trying to pull x...\nError: manifest unknown\n", "image x")

    assert "image x: manifest unknown" == str(error)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (1, ["ERROR (catatonit:6): failed to exec pid1: No such file"], "No such file"),
        (127, ["[FATAL tini (7)] exec x failed: No such file"], "No such file"),
        (3, ["ERROR (catatonit:6): failed to exec pid1: No such file"], None),
        (1, ["hello", "ERROR (catatonit:6): failed to exec pid1: No such file"], None),
        (1, [], None),
    ],
)
def test_an_init_that_finds_no_command_is_told_from_a_command(code, said, expected):
    """It says so, and nothing else."""
    assert expected == refused_by_init(code, said)


# --- what was left behind -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "job", "running", "expected"),
    [
        pytest.param("m/7/100", "other", True, False, id="its agent is at work"),
        pytest.param("m/7/99", "other", True, True, id="its agent's pid is another's now"),
        pytest.param("m/8/100", "other", True, True, id="its agent is gone"),
        pytest.param("elsewhere/8/1", "other", False, False, id="another machine's job"),
        pytest.param("elsewhere/8/1", "ours", True, False, id="our job, running elsewhere"),
        pytest.param("elsewhere/8/1", "ours", False, True, id="our job, standing still"),
        pytest.param("nonsense", "ours", True, False, id="a label nobody wrote"),
    ],
)
def test_what_a_killed_agent_left_is_told_from_what_is_in_use(agent, job, running, expected):
    """Only what nobody will come back for is removed."""
    seen = Seen("id", job, agent, running)

    assert expected == abandoned(seen, job="ours", machine="m", start_times={7: 100})


def test_an_agent_has_a_name_that_can_be_read_back():
    """The name of the machine may have slashes."""
    agent = Agent("boot/4026", 7, 100)

    assert agent == Agent.parse(str(agent))


def test_containers_are_known_by_their_labels():
    """Both engines tell them the same way."""
    labels = {"worker.job": "j", "worker.agent": "m/1/2"}
    found = [{"Id": "1", "Config": {"Labels": labels}, "State": {"Running": True}}]

    assert (Seen("1", "j", "m/1/2", True),) == read_containers(json.dumps(found))
    assert () == read_containers("")
