import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl exists only on Linux")
def test_keep_private_denies_the_environment_to_other_processes_of_the_same_user():
    """Even to a child process. Root can read everything, so root runs this test as nobody."""
    is_root = os.geteuid() == 0
    # The interpreter and the packages that root has installed may not be readable for nobody.
    python = "/usr/bin/python3" if is_root else sys.executable
    if is_root and not (shutil.which("setpriv") and Path(python).exists()):
        pytest.skip("needs a user other than root, or setpriv and /usr/bin/python3")
    script = (ROOT / "worker/system.py").read_text() + (
        "\nimport os, subprocess\n"
        "read = ['cat', f'/proc/{os.getpid()}/environ']\n"
        "before = subprocess.run(read, capture_output=True).stdout\n"
        "keep_private()\n"
        "after = subprocess.run(read, capture_output=True).stdout\n"
        "print(b'MARK' in before, b'MARK' in after)\n"
    )
    found = subprocess.run(
        [*(AS_NOBODY if is_root else ()), python, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"MARK": "1"},
    )

    assert "True False\n" == found.stdout, found.stderr
