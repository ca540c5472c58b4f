"""Mounts of folders and files for one command, in its container or its private mount namespace."""

import csv
import io
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from worker.supervisor.isolated import isolated_python

TRIAL = isolated_python("worker.supervisor.namespace")
TRIAL_TIMEOUT = 60.0
"""Seconds for a trial of mounts; a source may be on a slow file system."""


@attrs.frozen
class Mount:
    """A bind mount of a file or folder of this machine."""

    source: Path
    target: Path
    writable: bool = False

    def option(self, *flags: str) -> str:
        """Return the value of an engine's ``--mount`` for it, with further *flags* of the mount."""
        # Engines parse the value as a row of CSV, so a path with a comma is quoted.
        text = io.StringIO()
        row = ["type=bind", f"source={self.source}", f"target={self.target}", *flags]
        csv.writer(text, lineterminator="").writerow(row if self.writable else [*row, "ro"])
        return text.getvalue()

    def to_json(self) -> list[str | bool]:
        """Return the mount as the supervisor shim takes it."""
        return [str(self.source), str(self.target), self.writable]


def refused_mounts(mounts: Iterable[Mount]) -> Mapping[Path, str]:
    """Make mounts in a namespace of another process, and return why some fail, by target.

    Nothing else tells whether a machine permits them: capabilities, seccomp, limits of namespaces
    and security modules each forbid other steps. This one blocks for some 20 milliseconds, and for
    TRIAL_TIMEOUT seconds if the other process hangs.
    """
    tried = list(mounts)
    if not tried:
        return {}
    try:
        done = subprocess.run(
            [*TRIAL, json.dumps([each.to_json() for each in tried])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={},
            timeout=TRIAL_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {each.target: f"the trial did not exit within {TRIAL_TIMEOUT:g} s" for each in tried}
    try:
        found = json.loads(done.stdout)
    except ValueError:
        # It was killed, for example by a filter of system calls.
        return {each.target: f"the trial exited with {done.returncode}" for each in tried}
    return {each.target: found[str(each.target)] for each in tried if str(each.target) in found}
