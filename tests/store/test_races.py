"""Processes that do the same to one store at the same time."""

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
    """Let six processes take the same step at once; return what each of them said."""
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


def test_one_commit_of_a_name(local):
    """Of several who add a commit under one id, all are told of the one that is there."""
    a_commit(local, {"a": b"1"}, repo="lab")
    said = race(local, "add")

    assert [said[0]] * RACERS == said
    assert said[0] == next(local.commit(name) for name in local.commits(OUT)).message
    assert 1 == len(list(local.commits(OUT)))


def test_one_move_from_a_head(local):
    """Of several who move a branch from the same head, one does, and the others are told."""
    a_commit(local, {"a": b"1"}, repo="lab")
    said = race(local, "advance")

    assert Counter({"changed": RACERS - 1, "moved": 1}) == Counter(said)
    assert said.index("moved") == int(local.head(BranchName(OUT)).commit.id, 16)
    assert 1 == len(list(local.heads(BranchName(OUT))))


def test_no_temporary_file_stays(local):
    """Losing a race leaves nothing behind."""
    a_commit(local, {"a": b"1"}, repo="lab")
    race(local, "add")

    assert 0 == local.backend.sweep(2e10)
