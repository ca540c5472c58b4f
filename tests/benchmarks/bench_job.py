"""Time to materialize the file inputs of a datum, and to reuse them for the next one.

    python tests/benchmarks/bench_job.py [--files N]

The result is a ratio within one run, since machines differ.
"""

import argparse
import tempfile
import time
from pathlib import Path

from worker.directories import open_directory, remove_tree
from worker.job.pfs import fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.model import BranchName, Repo
from worker.spec.pipeline import PfsInput
from worker.store.checkin import put_directory
from worker.store.opening import open_store


def main() -> None:
    """Compare the reuse of an unchanged input with its materialization."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for number in range(count):
            path = place / "given" / f"{number // 100}" / f"{number}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1000)
        store = open_store(place / "store")
        branch = BranchName(Repo("default", "given"), "master")
        put_directory(store, branch, place / "given")
        wanted = PfsInput("in", "default", "given", "master", None, "/", s3=False)
        (selection,) = choices(store, resolve(store, wanted))
        target = place / "in"
        seconds = {}
        for what in ("first", "again"):
            started = time.perf_counter()
            remove_tree(target)
            materialize(store, selection, open_directory(place), spool=place)
            seconds[what] = time.perf_counter() - started
        mark = fingerprint(open_directory(place), "in")
        started = time.perf_counter()
        assert mark == fingerprint(open_directory(place), "in")
        seconds["kept"] = time.perf_counter() - started
        remove_tree(target)
    print(f"{count:,} files of 1 kB materialized: {seconds['again']:.3f} s")
    print(
        f"found unchanged: {seconds['kept']:.3f} s, {seconds['kept'] / seconds['again']:.1%} of it"
    )


if __name__ == "__main__":
    main()
