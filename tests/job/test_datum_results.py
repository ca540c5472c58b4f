"""Results of datums: counts and reasons, bounded whatever the number of datums."""

import json

import attrs
import pytest
from builders import an_id
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Cause
from worker.job.datum_results import DatumCounts, DatumResult, datum_name, described, explain
from worker.job.result import Result
from worker.job.state import State
from worker.job.termination_message import to_message
from worker.model import MAX_KEY, Commit, CommitName, Repo
from worker.store import commits

MANY = 100_000


def a_failure(number, reason="the command exited with code 3", **paths):
    return DatumResult(number, f"{number:064x}", "failure", 1, 0.1, 3, reason, paths)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (DatumCounts(5, 3, 1, 1), "1 of 5 datums failed (3 processed, 1 recovered)"),
        (
            DatumCounts(100_000, 1_234, 0, 2),
            "2 of 100,000 datums failed (1,234 processed, 0 recovered, 98,764 not completed)",
        ),
    ],
)
def test_counts_are_a_sentence(counts, expected):
    assert expected == str(counts)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"a": "/"}, "7"),
        ({"a": "/x y", "b": "/"}, "7 (a:/x y)"),
        ({"a": "/x", "b": "/y"}, "7 (a:/x, b:/y)"),
        ({"a": "/x\ndatum 8\t"}, r"7 (a:/x\ndatum 8\t)"),
        ({"a": "/" + "x" * 1000 + ".csv"}, "7 (a:/" + "x" * 64 + "…" + "x" * 29 + ".csv)"),
    ],
)
def test_the_name_of_a_datum_has_its_paths(paths, expected):
    assert expected == datum_name(7, paths)


@pytest.mark.parametrize("count", [1, 5, 6, MANY])
def test_an_explanation_has_the_first_reasons_and_the_number_of_others(count):
    failed = [a_failure(n, f"reason {n}", files=f"/{n}") for n in range(1, count + 1)]
    head, *lines = explain(DatumCounts(total=count, failed=count), failed).split("\n")

    assert f"{count:,} of {count:,} datums failed (0 processed, 0 recovered):" == head
    named = min(count, 5)
    assert lines[:named] == [
        f"datum {n} (files:/{n}), id {f'{n:064x}'[:12]}: reason {n}" for n in range(1, named + 1)
    ]
    assert lines[named:] == ([f"and {count - 5:,} more"] if count > 5 else [])


@given(st.lists(st.text(max_size=2000), min_size=1, max_size=20), st.text(max_size=2000))
def test_an_explanation_and_a_termination_message_are_bounded(reasons, path):
    """Whatever the reasons and paths are, and however many there are."""
    failed = [a_failure(n, text, files=path) for n, text in enumerate(reasons, 1)]
    counts = DatumCounts(total=10**9, processed=10**8, recovered=10**7, failed=10**6)
    reason = explain(counts, failed)
    result = Result("a" * 32, State.FAILURE, Cause.COMMAND_FAILED, reason, datum_counts=counts)
    message = to_message(result)
    found = json.loads(message)

    assert len(reason) < 2600
    assert len(message.encode()) < 4096
    assert attrs.asdict(counts) == found["datum_counts"]
    assert found["reason"].startswith("1,000,000 of 1,000,000,000 datums failed")


def test_the_result_has_every_datum_with_a_short_reason():
    failed = tuple(a_failure(number, "x" * 60_000) for number in range(3000))
    result = Result("a" * 32, State.FAILURE, Cause.COMMAND_FAILED, datums=failed)
    document = json.loads(result.to_text())

    assert 3000 == len(document["datums"])
    assert len(result.to_text()) < 3000 * 800


def test_a_commit_describes_rather_the_datums_that_did_not_succeed():
    """At most 1,000, in their order."""
    results = [attrs.evolve(a_failure(number), state="success") for number in range(MANY)]
    results[70_000] = a_failure(70_000)
    results[80_000] = attrs.evolve(a_failure(80_000), state="recovered")
    found = described(results)

    assert [*range(998), 70_000, 80_000] == [each.number for each in found]
    assert results[:7] == described(results[:7])


@pytest.mark.parametrize("character", [",", "[", "\x01"], ids=["comma", "bracket", "control"])
def test_a_commit_can_be_read_whatever_the_paths_of_its_datums_are(character):
    paths = {f"input{number}": "/" + character * (MAX_KEY - 1) for number in range(11)}
    datums = described([attrs.evolve(a_failure(number), paths=paths) for number in range(1000)])
    name = CommitName(Repo("default", "out"), an_id())
    commit = Commit(
        name=name, branch="master", parent=None, started=1.0, finished=2.0, root="ab" * 32,
        digest="cd" * 32, files=0, size=0, job={"datums": [attrs.asdict(each) for each in datums]},
    )  # fmt: skip
    data = commits.encode(commit)

    assert len(data) < commits.MAX_STORED
    assert commit == commits.decode(data, name, "commits/1")
    assert len(datums) > 100
