"""What laying out files costs: run it as a script, ``python tests/benchmarks/bench_job.py``.

Every line is a ratio of two things measured in the same run, as machines differ.
"""

import argparse
import tempfile
import time
from pathlib import Path

from worker.job.pfs import fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.job.scratch import remove_tree
from worker.model import BranchName, Repo
from worker.spec.pipeline import PfsInput
from worker.store.checkin import put_directory
from worker.store.repository import open_store


def main() -> None:
    """Compare a datum that finds its input laid out with one for which it is laid out again."""
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
            began = time.perf_counter()
            remove_tree(target)
            materialize(store, selection, target, spool=place)
            seconds[what] = time.perf_counter() - began
        mark = fingerprint(target)
        began = time.perf_counter()
        assert mark == fingerprint(target)
        seconds["kept"] = time.perf_counter() - began
        remove_tree(target)
    print(f"{count:,} files of 1 kB laid out again: {seconds['again']:.3f} s")
    print(
        f"found untouched: {seconds['kept']:.3f} s, {seconds['kept'] / seconds['again']:.1%} of it"
    )


if __name__ == "__main__":
    main()
