"""Commands in containers, with a scripted container engine."""

import os
from pathlib import Path

import pytest
from attrs import evolve

from worker.errors import Cause
from worker.job.environment import PASSED_TO_CONTAINERS, EnvironmentTemplate
from worker.job.run import run_job


def test_variables_with_paths_of_this_machine_are_not_passed_to_containers():
    """The image defines its own PATH and HOME."""
    base = {"PATH": "/x", "HOME": "/h", "PYTHONPATH": "/p", "LD_LIBRARY_PATH": "/l", "TZ": "UTC"}
    given = EnvironmentTemplate(
        base, job="j", pipeline="p", project="d", allowed=PASSED_TO_CONTAINERS
    )
    found = given.render(datum="d")

    assert "UTC" == found["TZ"]
    assert set() == {"PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH"} & set(found)


# --- users ----------------------------------------------------------------------------------------


JOB = {
    "pipeline": {"name": "copy"},
    "input": {"pfs": {"repo": "in", "glob": "/"}},
    "transform": {"cmd": ["sh"], "image": "debian"},
}


def scripted_engine(folder: Path, script: str) -> None:
    """Create a program called podman that behaves as *script* does."""
    folder.mkdir(exist_ok=True)
    (folder / "podman").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "podman").chmod(0o755)


async def a_run(a_request, log, folder: Path, document=None):

    request = a_request(document or JOB, runtime="podman")
    path = f"{folder}{os.pathsep}/usr/bin:/bin" if folder.exists() else str(folder)
    return await run_job(evolve(request, environment={"PATH": path}), log=log)


@pytest.fixture
def _input_commit(store):
    from builders import a_commit

    a_commit(store, {"a": b"1"}, repo="in")


@pytest.mark.usefixtures("_input_commit")
async def test_a_missing_engine_is_a_configuration_error(a_request, log, tmp_path):
    """Exit status 78; the reason names the engine."""
    result = await a_run(a_request, log, tmp_path / "nothing")

    assert (Cause.CONFIGURATION, 78) == (result.cause, result.exit_code)
    assert "--runtime podman: there is no podman in PATH=" in result.reason


@pytest.mark.usefixtures("_input_commit")
@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        pytest.param(
            'case $1 in ps) ;; *) echo "Error: manifest unknown" >&2; exit 125;; esac',
            64,
            "transform.image debian: it cannot be pulled: manifest unknown",
            id="an image that nobody has",
        ),
        pytest.param(
            'case $1 in ps) ;; *) echo "Error: unauthorized" >&2; exit 125;; esac',
            78,
            "transform.image debian: it cannot be pulled: unauthorized",
            id="an image that is not for us",
        ),
        pytest.param(
            'echo "Cannot connect to the Docker daemon at x" >&2; exit 1',
            69,
            "Cannot connect to the Docker daemon at x",
            id="an engine that does not answer",
        ),
        pytest.param(
            'case $1 in ps|rm) ;; image) echo \'[{"Id": "1"}]\';; '
            "*) echo 'unknown flag: --x' >&2; exit 125;; esac",
            78,
            "a container of debian: unknown flag: --x",
            id="an option that the engine does not know",
        ),
        pytest.param(
            'case $1 in ps|rm|create) ;; image) echo \'[{"Id": "1"}]\';; '
            "start) echo out of inodes >&2; exit 125;; container) echo "
            '\'[{"State": {"StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 125}}]\';; esac',
            69,
            "sh: it could not be started: out of inodes",
            id="125 of the engine, which is no exit code of the command",
        ),
        pytest.param(
            'case $1 in ps|rm|create) ;; image) echo \'[{"Id": "1"}]\';; '
            "start) exit 125;; container) echo "
            '\'[{"State": {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 125}}]\';; esac',
            10,
            "the command exited with code 125",
            id="125 of the command",
        ),
    ],
)
async def test_each_error_of_an_engine_has_its_exit_status(
    a_request, log, tmp_path, script, code, reason
):
    scripted_engine(tmp_path / "bin", script)
    document = {**JOB, "datumTries": 1}
    result = await a_run(a_request, log, tmp_path / "bin", document)

    assert (code, True) == (result.exit_code, reason in result.reason), result.reason


@pytest.mark.usefixtures("_input_commit")
async def test_a_job_without_an_image_is_invalid(a_request, log, tmp_path):
    """Exit status 64; the reason names the field."""
    scripted_engine(tmp_path / "bin", "exit 0")
    document = {**JOB, "transform": {"cmd": ["sh"]}}
    result = await a_run(a_request, log, tmp_path / "bin", document)

    assert 64 == result.exit_code
    assert (
        "transform.image: found none; a job needs an image to run in a container" == result.reason
    )


@pytest.mark.usefixtures("_input_commit")
async def test_links_of_a_container_lead_to_its_own_files_and_are_not_followed(
    a_request, log, tmp_path
):
    """Only those to inputs are, whose files the worker has; the path is in the error."""
    scripted_engine(
        tmp_path / "bin",
        f"out={tmp_path}/pfs/private/pfs/out; "
        'case $1 in ps|rm|create) ;; image) echo \'[{"Id": "1"}]\';; '
        "start) ln -s /pfs/in/a $out/a; ln -s /etc/passwd $out/b;; container) echo "
        '\'[{"State": {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 0}}]\';; esac',
    )
    result = await a_run(a_request, log, tmp_path / "bin", {**JOB, "datumTries": 1})

    assert 10 == result.exit_code, result.reason
    assert "/pfs/out/b: it is a symbolic link that leads to no input" in result.reason
