"""Reports of the user's code."""

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
