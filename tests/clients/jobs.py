"""Run the script of a client as the command of a job, and check the output commit."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
from clients.catalog import SCRIPTS, Client, Mode
from clients.dataset import BUCKET, COPIES
from clients.environments import Installation

ROOT = Path(__file__).resolve().parents[2]
JOB_TIMEOUT = 900
"""Seconds for one job; none takes two minutes on two cores."""
# Variables of the matrix's own process that could affect a client.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "NODE_PATH", "CLASSPATH")
TRUST_STORES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@attrs.frozen
class Result:
    """The result of one job; it passed if *reason* is empty."""

    seconds: float
    reason: str = ""


@attrs.frozen
class Site:
    """The folders that all jobs share."""

    input: Path
    store: Path
    logs: Path
    home: Path

    @classmethod
    def create(cls, folder: Path) -> "Site":
        """Create a site in *folder*."""
        site = cls(folder / "input", folder / "store", folder / "logs", folder / "home")
        for each in (site.input, site.logs, site.home):
            each.mkdir(parents=True, exist_ok=True)
        return site


def document(client: Client, installation: Installation, site: Site) -> dict[str, object]:
    """Return the job document whose command is the client's script."""
    return {
        "pipeline": {"name": f"client-{client.name.replace('.', '-')}"},
        "input": {"pfs": {"repo": BUCKET, "glob": "/", "s3": True}},
        "transform": {
            "cmd": [word.replace("{scripts}", str(SCRIPTS)) for word in client.command],
            "env": {
                "EXPECTED": str(site.input),
                **installation.variables,
                **dict(client.settings),
            },
        },
        "s3Out": True,
        "datumTries": 1,
    }


def worker_environment(installation: Installation, mode: Mode, site: Site) -> dict[str, str]:
    """Return the environment of the worker: an empty home, and the client on the PATH."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "S3_", "WORKER_", "RCLONE_", "MC_"))
        and name not in (*HIDDEN, *TRUST_STORES)
    }
    path = os.pathsep.join([*map(str, installation.path), *os.get_exec_path()])
    return {**inherited, "PATH": path, "HOME": str(site.home), **mode.settings}


def _worker(words: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *words],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=JOB_TIMEOUT,
        check=False,
    )


def run(client: Client, installation: Installation, mode: Mode, site: Site) -> Result:
    """Run the client's script with the gateway in *mode*, and check the output commit."""
    environment = worker_environment(installation, mode, site)
    stem = site.logs / f"{client.name}-{mode.name}"
    job, result, log = (stem.with_name(f"{stem.name}.{end}") for end in ("job", "json", "log"))
    job.write_text(json.dumps(document(client, installation, site), ensure_ascii=False), "utf-8")
    result.unlink(missing_ok=True)  # An earlier run's would be reported if this one writes none.
    words = ["run", "--store", str(site.store), "--job", str(job), "--result", str(result)]
    started = time.monotonic()
    try:
        done = _worker([*words, "--input", f"{BUCKET}={site.input}"], environment)
    except subprocess.TimeoutExpired:
        return Result(JOB_TIMEOUT, f"took longer than {JOB_TIMEOUT} s")
    seconds = time.monotonic() - started
    log.write_text(done.stderr, "utf-8")
    if done.returncode:
        return Result(seconds, _failure(result, done))
    target = site.home.parent / f"output-{client.name}"
    shutil.rmtree(target, ignore_errors=True)
    try:
        got = _worker(
            ["get", "--store", str(site.store), done.stdout.split()[-1], str(target)], environment
        )
        return Result(seconds, _difference(client, site, target, got))
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _failure(result: Path, done: subprocess.CompletedProcess[str]) -> str:
    try:
        report = json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return done.stderr.strip()[-500:]
    lines = [line if isinstance(line, str) else json.dumps(line) for line in report["log_tail"]]
    return f"{report['reason']}: {' | '.join(lines[-3:])}"


def _difference(
    client: Client, site: Site, target: Path, got: subprocess.CompletedProcess[str]
) -> str:
    if got.returncode:
        return f"worker get: {got.stderr.strip()[-300:]}"
    for key in client.outputs:
        if not (target / key).is_file():
            return f"{key} is not in the output commit"
        if key in COPIES and (target / key).read_bytes() != (site.input / COPIES[key]).read_bytes():
            return f"the content of {key} in the output commit differs from {COPIES[key]}"
    return ""
