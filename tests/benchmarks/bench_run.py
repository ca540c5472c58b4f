"""Overhead of a run: start-up, memory, and the commit of many objects.

    python tests/benchmarks/bench_run.py [--objects N] [--rounds N]

The results are differences or ratios within one run, since machines differ.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import psutil

from worker.buckets.index import Index
from worker.model import BranchName, CommitName, Entry, Extent, Repo
from worker.store.blobs import Stage
from worker.store.checkin import put_directory
from worker.store.opening import open_store
from worker.store.publish import Draft, publish
from worker.store.trees import apply

ROOT = Path(__file__).parents[2]
INPUT = BranchName(Repo("default", "labresults"))
OUTPUT = BranchName(Repo("default", "nothing"))
MIB = 1 << 20


def line(label: str, value: str, target: str) -> None:
    """Print a result and its target."""
    print(f"{label:<58} {value:>28}   {target}")


class Machine:
    """A folder with a store that has an input, and jobs whose command is a line of shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "input").mkdir()
        (folder / "input" / "a.txt").write_bytes(b"1")
        put_directory(open_store(folder / "store"), INPUT, folder / "input")

    def run(self, command: str, **kwargs: object) -> "subprocess.Popen[bytes]":
        """Start a worker that runs *command*."""
        job = {
            "pipeline": {"name": "nothing"},
            "input": {"pfs": {"repo": "labresults", "glob": "/", "s3": True}},
            "transform": {"cmd": ["sh", "-c", command]},
            "s3Out": True,
        }
        (self.folder / "job.json").write_text(json.dumps(job))
        return subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "--job", "job.json"],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "WORKER_STORE": str(self.folder / "store"),
                "WORKER_SCRATCH": str(self.folder / "scratch"),
                "WORKER_PFS_ROOT": str(self.folder / "pfs"),
                "WORKER_GATEWAY_PROCESSES": "2",
            },
            stderr=subprocess.DEVNULL,
            **kwargs,  # type: ignore[call-overload]  # one of the overloads
        )


def cpu() -> float:
    """Return the CPU seconds of all children that have exited."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def start_up(machine: Machine, rounds: int) -> None:
    """Compare no-op jobs with a Python process that does nothing, alternately."""
    jobs, pythons, used = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        pythons.append(time.perf_counter() - started)
        started, before = time.perf_counter(), cpu()
        assert machine.run("true", stdout=subprocess.DEVNULL).wait() == 0
        jobs.append(time.perf_counter() - started)
        used.append(cpu() - before)
    found = min(jobs) - min(pythons)
    line("no-op job, in addition to the start-up of Python", f"{found:.2f} s", "< 1 s")
    # On a shared machine, only the CPU time is meaningful.
    line("  CPU time of all its processes", f"{min(used):.2f} s", "")


def memory(machine: Machine) -> None:
    """Measure the agent and a gateway of two processes while the command sleeps."""
    process = machine.run("echo; sleep 60", stdout=subprocess.DEVNULL)
    try:
        agent = psutil.Process(process.pid)
        while not any(each.name() == "sleep" for each in agent.children(recursive=True)):
            time.sleep(0.1)
        processes, shim = [agent], 0
        for child in agent.children():
            below = child.children(recursive=True)
            if any(each.name() == "sleep" for each in below):
                shim = child.memory_full_info().pss
            else:
                processes += [child, *below]
        shares = [each.memory_full_info().pss for each in processes]
    finally:
        process.terminate()
        process.wait()
    found = f"{sum(shares) / MIB:.0f} MiB in {len(shares)} processes"
    line("agent, and two idle gateway processes with their parent", found, "≤ 100 MiB")
    line("supervisor shim of the command", f"{shim / MIB:.0f} MiB", "")


def objects(count: int, size: int) -> Iterator[Entry]:
    """Yield *count* entries like those that the gateway writes to the index."""
    for number in range(count):
        key = f"samples/{number // 1000:06d}/reading {number:09d}.csv"
        digest = hashlib.sha256(key.encode()).digest()
        extent = Extent.of_run("stage/p0-0", offset=number * size, length=size, sha256=digest)
        headers = {"content-type": "text/csv"}
        yield Entry(key, size, digest[:16].hex(), 1_700_000_000_000, (extent,), headers=headers)


def commit(folder: Path, count: int, size: int) -> tuple[float, float]:
    """Commit *count* objects of *size* bytes; return the seconds and the growth of RSS in MiB.

    Runs in a new process, so that the growth is that of the commit.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_commit, (folder, count, size))


def _commit(folder: Path, count: int, size: int) -> tuple[float, float]:
    index = Index.create(folder / f"index-{count}-{size}")
    epoch = index.epoch()
    for entry in objects(count, size):
        index.put(entry, epoch=epoch)
    index.freeze()
    name = CommitName(OUTPUT.repo, hashlib.md5(f"{count} {size}".encode()).hexdigest())
    now = time.time()
    draft = Draft(name, OUTPUT, started=now, finished=now)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    store = open_store(folder / "commits")
    stage = Stage(store.backend, name.id, writer="agent", scratch=folder)
    tree = apply(store.empty_tree(), ((entry.key, entry) for entry in index.entries()))
    published = publish(store, stage, tree, draft)
    seconds = time.perf_counter() - started
    assert published.commit.files == count
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def commits(folder: Path, count: int) -> None:
    """Compare commits of many small objects, of large ones, and of a tenth of the number."""
    small, grown = commit(folder, count, 1000)
    large, _ = commit(folder, count, 1 << 30)
    few, _ = commit(folder, count // 10, 1000)
    line(f"commit of {count:,} objects", f"{small:.2f} s", "a few seconds")
    line("  of 1 GiB each, against 1 kB each", f"{large / small:.2f}", "the same")
    line("  against a tenth of the number", f"{small / few:.1f} times", "about 10")
    line("  growth of RSS", f"{grown:.0f} MiB", "")


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name))
        start_up(machine, given.rounds)
        memory(machine)
        commits(Path(name), given.objects)


if __name__ == "__main__":
    main()
