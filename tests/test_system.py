"""Keeping what a process knows in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a thing")
def test_another_process_of_the_user_cannot_read_the_environment():
    """Not even one that the process itself began; root can read everything."""
    as_somebody = NOBODY if os.geteuid() == 0 else ()
    # Nobody may not have the right to run, or to read, what root has installed.
    script = (ROOT / "worker/system.py").read_text() + (
        "\nimport os, subprocess\n"
        "read = ['cat', f'/proc/{os.getpid()}/environ']\n"
        "before = subprocess.run(read, capture_output=True).stdout\n"
        "keep_private()\n"
        "after = subprocess.run(read, capture_output=True).stdout\n"
        "print(b'MARK' in before, b'MARK' in after)\n"
    )
    python = "/usr/bin/python3" if as_somebody else sys.executable
    if as_somebody and not (shutil.which("setpriv") and Path(python).exists()):
        pytest.skip("root can read everything, and nothing here makes it somebody else")
    found = subprocess.run(
        [*as_somebody, python, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"MARK": "1"},
    )

    assert "True False\n" == found.stdout, found.stderr
