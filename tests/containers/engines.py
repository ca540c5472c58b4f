"""The container engine under test, configured by variables.

    WORKER_TEST_ENGINE=podman pytest tests/containers

``WORKER_ENGINE_ARGUMENTS`` and ``WORKER_ENGINE_OPTIONS`` are the settings of the worker.
``WORKER_TEST_IMAGE`` names an image with a shell, bash and coreutils, and no Python.
``WORKER_TEST_BUILD`` has further options for ``build``, for instance ``-v`` for certificates.
"""

import os
import shlex
import subprocess
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
ENGINE = os.environ.get("WORKER_TEST_ENGINE", "")
IMAGE = os.environ.get("WORKER_TEST_IMAGE", "docker.io/library/debian:bookworm-slim")
MARK = "WORKER_TEST_MARK"


def split_variable(variable: str) -> list[str]:
    """Return the comma-separated words of a variable."""
    return [word for word in os.environ.get(variable, "").split(",") if word]


@attrs.frozen
class Engine:
    """The engine under test."""

    name: str

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the engine's commands."""
        return subprocess.run(
            self.line(*arguments), check=check, capture_output=True, text=True, timeout=540
        )

    def line(self, *arguments: str) -> list[str]:
        """Return the command line for one of the engine's commands."""
        return [self.name, *split_variable("WORKER_ENGINE_ARGUMENTS"), *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a container that is removed at its exit."""
        return self.call("run", "--rm", *self.options(), *arguments, check=check)

    @staticmethod
    def options() -> list[str]:
        """Return the options that each container needs on this machine."""
        return ["--network=host", *split_variable("WORKER_ENGINE_OPTIONS")]

    def build(self, tag: str, folder: Path, *arguments: str) -> None:
        """Build an image from a folder with a Dockerfile."""
        limits = [
            word for word in split_variable("WORKER_ENGINE_OPTIONS") if word.startswith("--ulimit")
        ]
        more = shlex.split(os.environ.get("WORKER_TEST_BUILD", ""))
        network = ["--network=host", *limits, *more]
        self.call("build", *network, *arguments, "--tag", tag, str(folder))

    def containers(self) -> list[str]:
        """Return the ids of all containers that workers created, running or not."""
        return self.call("ps", "-aq", "--filter=label=worker.agent").stdout.split()
