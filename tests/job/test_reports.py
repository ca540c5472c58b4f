"""Reports of the user's code."""

import json

import msgspec
import pytest
import trio

from worker.job.reports import Reports, receive_reports


class Received:
    def __init__(self) -> None:
        self.kept: dict = {}
        self.messages: list = []
        self.logged = 0
        self.warnings: list[str] = []
        self.now = 0.0
        self.reports = Reports(self.kept, self.receive, self.warnings.append, lambda: self.now)

    def receive(self, report, *, log):
        self.messages.append(report)
        self.logged += log


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (
            ['{"progress": 0.1}', '{"progress": 1, "text": "done"}'],
            {"progress": {"progress": 1, "text": "done"}},
        ),
        (['{"text": "epoch 2"}'], {"progress": {"text": "epoch 2"}}),
        (
            ['{"progress": 0.4}', '{"text": "x", "other": 1}'],
            {"progress": {"progress": 0.4, "text": "x"}},
        ),
        (['{"metrics": {"a": 1, "b": 1}}', '{"metrics": {"a": 2}}'], {"metrics": {"a": 2, "b": 1}}),
        (['{"annotation": {"who": "ada"}}', ""], {"annotation": {"who": "ada"}}),
        (
            ['{"progress": 1, "metrics": {"a": 1}}'],
            {"progress": {"progress": 1}, "metrics": {"a": 1}},
        ),
    ],
    ids=["progress", "text alone", "progress, then text", "metrics", "annotation", "together"],
)
def test_the_last_status_and_the_last_value_of_each_name_are_kept(lines, kept):
    received = Received()
    for line in lines:
        received.reports.add(line)

    assert kept == received.kept
    assert [] == received.warnings


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"other": 1}', "NaN"])
def test_an_invalid_report_is_one_warning(line):
    received = Received()
    for _ in range(3):
        received.reports.add(line)

    assert ({}, 1) == (received.kept, len(received.warnings))


def test_the_number_of_names_is_bounded():
    """A commit does not hold a time series."""
    received = Received()
    for number in range(3000):
        received.reports.add(f'{{"metrics": {{"m{number}": 1}}}}')

    assert (1000, "m2999") == (len(received.kept["metrics"]), list(received.kept["metrics"])[-1])


async def test_reports_are_received_from_several_writers(tmp_path):
    """Up to the last line."""
    received = Received()
    async with receive_reports(tmp_path / "report", received.reports):
        for number in range(3):
            await trio.run_process(
                ["sh", "-c", f"echo '{{\"progress\": {number}}}' > {tmp_path}/report"]
            )
        with (tmp_path / "report").open("w") as pipe:
            pipe.write('{"annotation": {"key": "last"}}')

    assert 4 == len(received.messages)
    assert {"key": "last"} == received.kept["annotation"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('{"metrics": {"a": NaN}}', "NaN"),
        ('{"metrics": {"a": Infinity}}', "Infinity"),
        ('{"metrics": {"a": -1e999}}', "-Infinity"),
        ('{"metrics": {"a": "\\ud800x\\udc00"}}', "\ufffdx\ufffd"),
        ('{"metrics": {"a": "\\ud83d\\udd11"}}', "\U0001f511"),
        ('{"metrics": {"a": 18014398509481985}}', 18014398509481985),
        ('{"metrics": {"a": 1' + "0" * 4000 + "}}", 10**4000),
        ('{"metrics": {"a": 1, "a": 2}}', 2),
        ('{"metrics": {"b": 1}, "metrics": {"a": [null, true]}}', [None, True]),
        ('{"metrics": {"a": ' + "[" * 14 + "]" * 14 + "}}", json.loads("[" * 14 + "]" * 14)),
    ],
    ids=[
        "NaN", "Infinity", "overflow", "lone surrogates", "a pair of surrogates", "over 2**53",
        "4,001 digits", "a name twice", "a key twice", "deep",
    ],
)  # fmt: skip
def test_a_value_becomes_strict_json(line, value):
    """Each value that is kept can be part of a commit."""
    received = Received()
    received.reports.add(line)

    assert value == received.kept["metrics"]["a"]
    msgspec.json.encode(received.kept)


@pytest.mark.parametrize(
    "line",
    [
        '{"metrics": {"a": ' + "[" * 15 + "]" * 15 + "}}",
        '{"metrics": {"a": ' + "[" * 900 + "]" * 900 + "}}",
        "[" * 60_000,
        '{"a":' * 10_000,
        '{"metrics": {"a": 1' + "0" * 5000 + "}}",
        '{"metrics": {"a": "' + "x" * 70_000 + '"}}',
        '{"metrics": {"a": 1}} {"metrics": {"a": 1}}',
        '{"metrics": {"a": "\\xff"}}',
        "\ufeff{}",
        "\x00",
    ],
    ids=[
        "too deep", "900 lists", "60,000 lists", "10,000 objects", "5,001 digits", "too long",
        "two in a line", "not UTF-8", "byte order mark", "NUL",
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_kept_is_dropped(line):
    """With a warning that is short."""
    received = Received()
    received.reports.add(line)
    received.reports.add('{"text": "next"}')

    assert {"progress": {"text": "next"}} == received.kept
    assert 1 == len(received.warnings)
    assert len(received.warnings[0]) < 2000


def test_the_size_of_what_is_kept_is_bounded():
    """The names that were reported longest ago are dropped, with one warning."""
    received = Received()
    received.reports.add('{"metrics": {"first": 1, "second": 2}}')
    for number in range(500):
        received.reports.add(f'{{"metrics": {{"m{number}": "{"é" * 6000}"}}}}')
        received.reports.add('{"metrics": {"first": 3}}')

    assert len(json.dumps(received.kept)) <= 257 * 1024
    assert 3 == received.kept["metrics"]["first"]
    assert "second" not in received.kept["metrics"]
    assert 1 == len(received.warnings)


def test_a_flood_of_reports_is_not_logged():
    """The log has the first of each second; the values are kept, and a warning has the number."""
    received = Received()
    for number in range(1000):
        received.reports.add(f'{{"progress": {number}}}')
    received.now = 1.0
    received.reports.add('{"progress": 1000}')
    received.reports.finish()

    assert (101, 1001) == (received.logged, len(received.messages))
    assert {"progress": {"progress": 1000}} == received.kept
    assert ["900 reports were not logged"] == [each[:27] for each in received.warnings]
