"""Time to build, change and read the trees of large commits.

    python tests/benchmarks/bench_store.py [--files N]

The targets are ratios within one run, since machines differ.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from worker.model import BranchName, Entry, Extent, Repo
from worker.store.checkin import put_directory
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.trees import Tree, apply, read_root


def entries(count: int, *, size: int = 1000, salt: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield *count* entries like those of an output bucket: sorted, each with its digests."""
    for number in range(count):
        key = f"samples/{number // 1000:06d}/reading {number:09d}.csv"
        digest = hashlib.sha256(f"{key}{salt}".encode()).digest()
        extent = Extent.of_run(
            "0123456789abcdef0123456789abcdef-deadbeef/gateway1-0",
            offset=number * size,
            length=size,
            sha256=digest,
        )
        headers = {"content-type": "text/csv"}
        yield key, Entry(key, size, digest[:16].hex(), 1_700_000_000_000, (extent,), headers)


class Timed:
    """Context manager that measures the seconds and the objects written to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> "Timed":
        self._before = self._names()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self.written = len(self._names() - self._before)

    def _names(self) -> set[str]:
        return {listed.name for listed in self._store.backend.list_from("")}


def line(label: str, value: str, target: str) -> None:
    """Print a result and its target."""
    print(f"{label:<58} {value:>28}   {target}")


def bench_commit(store: Store) -> None:
    """Compare commits of 100,000 files of 1 kB and of 1 GB."""
    seconds = []
    for size in (1000, 10**9):
        with Timed(store) as timed:
            apply(store.empty_tree(), entries(100_000, size=size, salt=str(size)))
        seconds.append(timed.seconds)
    ratio = seconds[1] / seconds[0]
    line("tree of 100,000 files of 1 kB", f"{seconds[0]:.2f} s", "a few seconds")
    line("the same with 1 GB each, in proportion", f"{ratio:.2f}", "about 1")


def bench_change(store: Store, count: int) -> Tree:
    """Compare a change of ten files with building the whole tree."""
    with Timed(store) as made:
        tree = apply(store.empty_tree(), entries(count))
    segments = len(tree.rows)
    chosen = set(range(0, count, count // 10))
    changes = [
        change for number, change in enumerate(entries(count, salt="changed")) if number in chosen
    ][:10]
    fresh = open_store(store.url)
    with Timed(store) as changed:
        apply(
            Tree(fresh.backend, tree.root, read_root(fresh.backend, tree.root), fresh.tree_cache),
            changes,
        )
    line(f"tree of {count:,} files, {segments} segments", f"{made.seconds:.2f} s", "")
    line(
        "change of 10 of them, in proportion",
        f"{changed.seconds / made.seconds:.4f} ({changed.seconds * 1000:.0f} ms)",
        "segments touched / all",
    )
    line("objects written by the change", f"{changed.written}", "at most 21: 20 and a root")
    return tree


def bench_open(store: Store, tree: Tree, count: int) -> None:
    """Measure opening a large commit, a look-up, and a page of a listing."""
    fresh = open_store(store.url)
    started = time.perf_counter()
    opened = Tree(fresh.backend, tree.root, read_root(fresh.backend, tree.root), fresh.tree_cache)
    seconds = time.perf_counter() - started
    root = len(store.backend.get(f"trees/{tree.root}"))
    line(f"open a commit of {count:,} files", f"{seconds * 1000:.1f} ms", f"reads {root:,} bytes")
    key = tree.rows[len(tree.rows) // 2].last
    opened.entry(key)
    started = time.perf_counter()
    for _ in range(10_000):
        opened.entry(key)
    microseconds = (time.perf_counter() - started) * 100
    line("look-up of a cached key", f"{microseconds:.1f} µs", "about 10 µs")
    pages = []
    for start in ("samples/000000", tree.rows[-1].last[:14]):
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            found = opened.entries(start=start)
            sum(1 for _, _ in zip(found, range(500), strict=False))
            taken.append(time.perf_counter() - started)
        pages.append(min(taken))
    line(
        "page at the end, in proportion to one at the start",
        f"{pages[1] / pages[0]:.2f}",
        "about 1",
    )


def bench_put(store: Store, folder: Path) -> None:
    """Compare a put of 1,200 small files with one that changes nothing."""
    for number in range(1200):
        file = folder / f"{number % 12}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(hashlib.sha256(str(number).encode()).digest() * 30)
    branch = BranchName(Repo("default", "bench"))
    started = time.perf_counter()
    put_directory(store, branch, folder)
    first = time.perf_counter() - started
    started = time.perf_counter()
    put_directory(store, branch, folder)
    again = time.perf_counter() - started
    line("put of 1,200 small files", f"{first:.2f} s", "well under 1 s")
    line("again without changes, in proportion", f"{again / first:.2f}", "below 1")


def main() -> None:
    """Run all benchmarks on a store in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--files", type=int, default=1_000_000, help="number of files in the large tree"
    )
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory(prefix="bench-store-") as scratch:
        store = open_store(Path(scratch) / "store")
        bench_put(store, Path(scratch) / "folder")
        bench_commit(store)
        tree = bench_change(store, count)
        bench_open(store, tree, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line("peak memory", f"{peak:.0f} MiB", "flat in the number of files")


if __name__ == "__main__":
    main()
