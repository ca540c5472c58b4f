"""Count the modules and functions of `worker` that run for a request and for a job.

    python tests/benchmarks/bench_touched.py [--root DIRECTORY] [--list OPERATION]

Each process of `worker` is profiled with `sys.setprofile`. A function counts once however often it
runs; class bodies, comprehensions and generated methods do not count. A request is counted after
one of its kind has been answered, so imports and caches do not count. The supervisor shim runs
isolated from the site packages and is not profiled. *--root* profiles another checkout, to compare.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
KIB = b"x" * 1024

# Imported by each Python process of the run, since its folder is on PYTHONPATH.
PROFILER = """
import atexit, inspect, os, signal, sys, threading

folder, package = os.environ["TOUCHED"], os.environ["TOUCHED_PACKAGE"]
touched = set()
SKIPPED = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")

def profile(frame, event, argument):
    if event == "call":
        code = frame.f_code
        if (
            code.co_filename.startswith(package)
            and code.co_flags & inspect.CO_OPTIMIZED
            and not code.co_name in SKIPPED
        ):
            touched.add((code.co_filename[len(package):], code.co_qualname))

def dump(*_):
    found = sorted(touched)
    touched.clear()
    path = f"{folder}/{os.getpid()}"
    with open(path + ".new", "w") as file:
        file.writelines(f"{module} {name}\\n" for module, name in found)
    os.replace(path + ".new", path)

leave = os._exit
def dump_and_leave(status):
    dump()
    leave(status)

os._exit = dump_and_leave
atexit.register(dump)
signal.signal(signal.SIGUSR2, dump)
threading.setprofile(profile)
sys.setprofile(profile)
"""

Touched = set[tuple[str, str]]


def read(folder: Path) -> Touched:
    """Return and remove what the processes have written to *folder*."""
    found: Touched = set()
    for path in folder.iterdir():
        if path.suffix != ".new":
            rows = (line.partition(" ") for line in path.read_text().splitlines())
            found |= {(module, name) for module, _, name in rows}
            path.unlink()
    return found


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[tuple[str, list[int]]]:
    """Run `worker gateway`; yield its host and port and the ids of its gateway's processes."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        variables = json.loads(agent.stdout.readline())
        children = psutil.Process(agent.pid).children(recursive=True)
        yield variables["S3_ENDPOINT"].removeprefix("http://"), [child.pid for child in children]
        agent.terminate()


def count_request(
    address: str,
    pids: list[int],
    folder: Path,
    send_request: Callable[[http.client.HTTPConnection], None],
) -> Touched:
    """Return what runs in the gateway for the second request of a kind."""
    connection = http.client.HTTPConnection(address)

    def answered() -> None:
        send_request(connection)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()
        # The work of the server after its response is part of the request.
        time.sleep(0.3)

    def collect() -> Touched:
        read(folder)
        for pid in pids:
            os.kill(pid, signal.SIGUSR2)
        while len([path for path in folder.iterdir() if path.suffix != ".new"]) < len(pids):
            time.sleep(0.01)
        return read(folder)

    answered()
    collect()
    answered()
    return collect()


def count(root: Path) -> dict[str, Touched]:
    """Return what runs for each operation in the checkout *root*."""
    with tempfile.TemporaryDirectory(prefix="touched-") as name:
        base = Path(name)
        folder = base / "touched"
        folder.mkdir()
        (base / "site").mkdir()
        (base / "site" / "sitecustomize.py").write_text(PROFILER)
        (base / "data").mkdir()
        (base / "data" / "file").write_bytes(KIB)
        job = {
            "pipeline": {"name": "touched"},
            "input": {"pfs": {"repo": "data", "name": "data", "glob": "/", "s3": True}},
            "s3Out": True,
            "transform": {"cmd": ["true"]},
        }
        (base / "job.json").write_text(json.dumps(job))
        plain = {
            **os.environ,
            "PYTHONPATH": str(root),
            "WORKER_STORE": str(base / "store"),
            "WORKER_GATEWAY_PROCESSES": "1",
            "WORKER_LOG_LEVEL": "error",
        }
        worker = [sys.executable, "-m", "worker"]
        subprocess.run(
            [*worker, "put", "data", str(base / "data")], env=plain, check=True, cwd=base,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        profiled = {
            **plain,
            "PYTHONPATH": f"{base / 'site'}{os.pathsep}{root}",
            "TOUCHED": str(folder),
            "TOUCHED_PACKAGE": f"{root}/worker/",
        }
        os.chdir(base)
        found: dict[str, Touched] = {}
        command = [*worker, "gateway", "--job", str(base / "job.json"), "--json"]
        with serving(command, profiled) as (address, pids):
            for operation, send_request in {
                "PutObject": lambda c: c.request("PUT", "/out/key", KIB),
                "GetObject": lambda c: c.request("GET", "/data/file"),
                "ListObjectsV2": lambda c: c.request("GET", "/out?list-type=2"),
            }.items():
                found[operation] = count_request(address, pids, folder, send_request)
        read(folder)
        command = [*worker, "run", "--job", str(base / "job.json")]
        subprocess.run(command, env=profiled, check=True, stdout=subprocess.DEVNULL)
        found["a job that does nothing"] = read(folder)
        return found


def main() -> None:
    """Print the table, or the functions of one operation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to profile")
    parser.add_argument("--list", metavar="OPERATION", help="print its functions instead")
    options = parser.parse_args()
    found = count(options.root.resolve())
    if options.list:
        for module, name in sorted(found[options.list]):
            print(module, name)
        return
    print(f"{'':26} {'modules':>8} {'functions':>10}")
    for operation, touched in found.items():
        modules = {module for module, _ in touched}
        print(f"{operation:26} {len(modules):8} {len(touched):10}")


if __name__ == "__main__":
    main()
