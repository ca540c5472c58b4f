"""Time to list repos and to find the head of a branch, by their number and its length.

    python tests/benchmarks/bench_refs.py [--store URL]

The time for each repo must not grow with the number of repos, nor the time for a head with the
length of the log.
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import attrs

from worker.cli.history import branch_heads
from worker.model import BranchName, Commit, CommitName, Repo
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.trees import apply


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of *work*, the best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def a_commit(store: Store) -> Commit:
    """Return a commit without files, as a template."""
    tree = apply(store.empty_tree(), [])
    name = CommitName(Repo("default", "repo"), uuid.uuid4().hex)
    return Commit(name, "master", None, 0.0, 0.0, tree.root, tree.digest, 0, 0)


def add(store: Store, template: Commit, repo: Repo, parent: str | None = None) -> Commit:
    """Publish a commit on the master branch of *repo*."""
    name = CommitName(repo, uuid.uuid4().hex)
    commit = store.add_commit(attrs.evolve(template, name=name, parent=parent))
    store.advance(BranchName(repo), commit)
    return commit


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="URL or directory in which stores are created")
    parser.add_argument("--repos", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--commits", type=int, nargs="+", default=[100, 1000, 10000])
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = parsed.store or folder
        store = open_store(f"{base}/repos-{uuid.uuid4().hex}")
        template, done = a_commit(store), 0
        for count in parsed.repos:
            with ThreadPoolExecutor(8) as pool:
                repos = [Repo("default", f"repo-{n:06d}") for n in range(done, count)]
                list(pool.map(lambda repo: add(store, template, repo), repos))
            done = count
            seconds = timed(lambda: len(list(branch_heads(store))))
            print(
                f"repos, {count:>6} in total {seconds:8.3f} s {seconds / count * 1e6:8.0f} µs each"
            )
        store = open_store(f"{base}/log-{uuid.uuid4().hex}")
        commit, branch, length = a_commit(store), BranchName(Repo("default", "log")), 0
        parent = None
        for count in parsed.commits:
            for _ in range(length, count):
                parent = add(store, commit, branch.repo, parent).name.id
            length = count
            seconds = timed(lambda: store.head(branch))
            print(f"head, log of {count:>6}    {seconds * 1e3:8.3f} ms")


if __name__ == "__main__":
    main()
