"""The container engine that the tests are given, by variables.

    WORKER_TEST_ENGINE=podman pytest tests/containers

``WORKER_ENGINE_ARGUMENTS`` and ``WORKER_ENGINE_OPTIONS`` are those of the worker's settings.
``WORKER_TEST_IMAGE`` names an image with a shell, bash and coreutils, and no Python.
``WORKER_TEST_BUILD`` holds more options for ``build``, for instance ``-v`` for certificates.
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


def words(variable: str) -> list[str]:
    return [word for word in os.environ.get(variable, "").split(",") if word]


@attrs.frozen
class Engine:
    """The engine that the tests were given."""

    name: str

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Have it do something."""
        return subprocess.run(
            self.line(*arguments), check=check, capture_output=True, text=True, timeout=540
        )

    def line(self, *arguments: str) -> list[str]:
        """Return the command line for that."""
        return [self.name, *words("WORKER_ENGINE_ARGUMENTS"), *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a container, removed when it ends."""
        return self.call("run", "--rm", *self.options(), *arguments, check=check)

    @staticmethod
    def options() -> list[str]:
        """Return the options that every container needs on this machine."""
        return ["--network=host", *words("WORKER_ENGINE_OPTIONS")]

    def build(self, tag: str, folder: Path, *arguments: str) -> None:
        """Make an image of a folder with a Dockerfile."""
        limits = [word for word in words("WORKER_ENGINE_OPTIONS") if word.startswith("--ulimit")]
        more = shlex.split(os.environ.get("WORKER_TEST_BUILD", ""))
        network = ["--network=host", *limits, *more]
        self.call("build", *network, *arguments, "--tag", tag, str(folder))

    def containers(self) -> list[str]:
        """Return the workers' containers that are there, running or not."""
        return self.call("ps", "-aq", "--filter=label=worker.agent").stdout.split()
