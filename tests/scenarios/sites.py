"""A site: a worker with its store, scratch folder and environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs

from worker.store.opening import open_store

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"


@attrs.frozen
class Output:
    """The output and exit status of a worker process."""

    status: int
    out: str
    err: str

    @property
    def events(self):
        """The events of the log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@attrs.frozen
class Site:
    """A worker with a store, a scratch folder, a home and an environment."""

    root: Path
    store: str
    more: dict = attrs.field(factory=dict)

    @property
    def scratch(self):
        """The folder in which jobs create their scratch folders."""
        return self.root / "scratch"

    @property
    def environment(self):
        """The environment of the worker; of this machine it has only PATH."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            "PATH": programs,
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "WORKER_STORE": self.store,
            "WORKER_SCRATCH": str(self.scratch),
            "WORKER_PFS_ROOT": str(self.root / "pfs"),
            **self.more,
        }

    def command(self, *arguments):
        """Return a command line of the worker."""
        return [sys.executable, "-m", "worker", *map(str, arguments)]

    def worker(self, *arguments, given=None, **environment):
        """Run a worker until it exits, and return its output."""
        found = subprocess.run(
            self.command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root,
            env={**self.environment, **environment},
            timeout=240,
        )
        return Output(found.returncode, found.stdout, found.stderr)

    def start(self, *arguments, **kwargs):
        """Start a worker whose output is in pipes, and return its process."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env=self.environment,
            **kwargs,
        )

    def job(self, document, name="job.json"):
        """Write a job document and return its path."""
        path = self.root / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def open(self):
        """Open the store."""
        return open_store(self.store)

    def left_over(self):
        """Return the paths in the scratch folder; none after a run."""
        return sorted(str(path.relative_to(self.scratch)) for path in self.scratch.rglob("*"))


def files_of(folder):
    """Return the content of every file below *folder* by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
