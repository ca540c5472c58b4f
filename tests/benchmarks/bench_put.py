"""Time to put a folder of which nine files changed.

    python tests/benchmarks/bench_put.py [--files N] [--size BYTES]

Prints the seconds of the first put, and of puts of the folder with nine changed files, once reading
every file and once with ``trust_mtime``, and the ratio of the latter two.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from worker.model import BranchName, Repo
from worker.store import ingest
from worker.store.checkin import put_directory
from worker.store.opening import open_store

LAB = BranchName(Repo("default", "lab"))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100, help="of each file, in bytes")
    parsed = parser.parse_args()
    count = parsed.files
    with tempfile.TemporaryDirectory() as place:
        folder, store = Path(place) / "folder", open_store(Path(place) / "store")
        for number in range(count):
            path = folder / f"{number // 1000:04d}" / f"{number:07d}"
            if number % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(b"%09d\n" % number * (parsed.size // 10))
        time.sleep(ingest.TRUST_MARGIN + 0.5)

        def put(label: str, *, trust_mtime: bool = False) -> float:
            started = time.perf_counter()
            commit = put_directory(store, LAB, folder, trust_mtime=trust_mtime)
            seconds = time.perf_counter() - started
            print(f"{label:<48} {seconds:8.2f} s  {commit.files:,} files")
            return seconds

        def change(text: str) -> None:
            for number in range(9):
                path = folder / f"{number * (count // 9) // 1000:04d}" / f"change {number}"
                path.write_text(text)

        put("first put")
        change("a")
        read = put("nine files changed, all files read")
        change("b")
        trusted = put("nine files changed, modification times trusted", trust_mtime=True)
        print(f"{'ratio':<48} {read / trusted:8.1f}    {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
