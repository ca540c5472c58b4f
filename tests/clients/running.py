"""One client's script as the command of a real ``worker run``, and a look at what it left."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
from clients.environments import Prepared
from clients.rows import SCRIPTS, Mode, Row
from clients.scene import BUCKET, LEFT

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900
"""Seconds that one job may take; none takes two minutes on two cores."""
# What the matrix itself was started with must not help or hinder a client.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "NODE_PATH", "CLASSPATH")
OWN_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@attrs.frozen
class Outcome:
    """How one job ended; green where *reason* is empty."""

    seconds: float
    reason: str = ""


@attrs.frozen
class Place:
    """Where jobs are run: one store and one input for all of them."""

    input: Path
    store: Path
    logs: Path
    home: Path

    @classmethod
    def below(cls, folder: Path) -> "Place":
        """Return a place whose folders lie in *folder*."""
        place = cls(folder / "input", folder / "store", folder / "logs", folder / "home")
        for each in (place.input, place.logs, place.home):
            each.mkdir(parents=True, exist_ok=True)
        return place


def document(row: Row, prepared: Prepared, place: Place) -> dict[str, object]:
    """Return the job whose command is the client's script."""
    return {
        "pipeline": {"name": f"client-{row.name.replace('.', '-')}"},
        "input": {"pfs": {"repo": BUCKET, "glob": "/", "s3": True}},
        "transform": {
            "cmd": [word.replace("{scripts}", str(SCRIPTS)) for word in row.command],
            "env": {"EXPECTED": str(place.input), **prepared.variables, **dict(row.hint)},
        },
        "s3Out": True,
        "datumTries": 1,
    }


def agents_environment(prepared: Prepared, mode: Mode, place: Place) -> dict[str, str]:
    """Return the environment of the agent: an empty home, with the client on the PATH."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "S3_", "WORKER_", "RCLONE_", "MC_"))
        and name not in (*HIDDEN, *OWN_TRUST)
    }
    path = os.pathsep.join([*map(str, prepared.path), *os.get_exec_path()])
    return {**kept, "PATH": path, "HOME": str(place.home), **mode.settings}


def _worker(words: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *words],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )


def run(row: Row, prepared: Prepared, mode: Mode, place: Place) -> Outcome:
    """Run the row's script in this mode, and check what the output commit holds."""
    environment = agents_environment(prepared, mode, place)
    stem = place.logs / f"{row.name}-{mode.name}"
    job, result, log = (stem.with_name(f"{stem.name}.{end}") for end in ("job", "json", "log"))
    job.write_text(json.dumps(document(row, prepared, place), ensure_ascii=False), "utf-8")
    result.unlink(missing_ok=True)  # of an earlier run; this one may not come to write its own
    words = ["run", "--store", str(place.store), "--job", str(job), "--result", str(result)]
    began = time.monotonic()
    try:
        done = _worker([*words, "--input", f"{BUCKET}={place.input}"], environment)
    except subprocess.TimeoutExpired:
        return Outcome(PATIENCE, f"took longer than {PATIENCE} s")
    seconds = time.monotonic() - began
    log.write_text(done.stderr, "utf-8")
    if done.returncode:
        return Outcome(seconds, _why(result, done))
    back = place.home.parent / f"back-{row.name}"
    shutil.rmtree(back, ignore_errors=True)
    try:
        got = _worker(
            ["get", "--store", str(place.store), done.stdout.split()[-1], str(back)], environment
        )
        return Outcome(seconds, _difference(row, place, back, got))
    finally:
        shutil.rmtree(back, ignore_errors=True)


def _why(result: Path, done: subprocess.CompletedProcess[str]) -> str:
    try:
        told = json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return done.stderr.strip()[-500:]
    lines = [line if isinstance(line, str) else json.dumps(line) for line in told["log_tail"]]
    return f"{told['reason']}: {' | '.join(lines[-3:])}"


def _difference(row: Row, place: Place, back: Path, got: subprocess.CompletedProcess[str]) -> str:
    if got.returncode:
        return f"worker get: {got.stderr.strip()[-300:]}"
    for key in row.leaves:
        if not (back / key).is_file():
            return f"{key} is not in the output commit"
        if key in LEFT and (back / key).read_bytes() != (place.input / LEFT[key]).read_bytes():
            return f"{key} in the output commit has other bytes"
    return ""
