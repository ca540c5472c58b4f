"""Several processes that change one store at the same time."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from builders import a_commit

from worker.model import BranchName, Repo

OUT = Repo("default", "out")
RACERS = 6
ROOT = Path(__file__).parents[2]


def race(store, step: str) -> list[str]:
    """Carry out the same step in six processes at the same time, and return their results."""
    racers = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("racing.py"), store.url, step, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(RACERS)
    ]
    assert ["ready\n"] * RACERS == [racer.stdout.readline() for racer in racers]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return [racer.communicate()[0].strip() for racer in racers]


def test_concurrent_commits_of_one_id_all_return_the_same_commit(local):
    a_commit(local, {"a": b"1"}, repo="lab")
    results = race(local, "add")

    assert [results[0]] * RACERS == results
    assert results[0] == next(local.commit(name) for name in local.commits(OUT)).message
    assert 1 == len(list(local.commits(OUT)))


def test_one_of_several_concurrent_moves_from_one_head_succeeds(local):
    a_commit(local, {"a": b"1"}, repo="lab")
    results = race(local, "advance")

    assert Counter({"changed": RACERS - 1, "moved": 1}) == Counter(results)
    assert results.index("moved") == int(local.head(BranchName(OUT)).commit.id, 16)
    assert 1 == len(list(local.heads(BranchName(OUT))))


def test_a_lost_race_leaves_no_temporary_file(local):
    a_commit(local, {"a": b"1"}, repo="lab")
    race(local, "add")

    assert 0 == local.backend.sweep(2e10)
