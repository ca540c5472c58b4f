"""Lines of a command that have no end yet."""

from worker.job.command_log import UnfinishedLog, log_output
from worker.redaction import Redactor


def test_lines_without_an_end_are_logged_at_a_bounded_rate(log, logged):
    """A progress bar changes many times a second; only its last state is logged."""
    now = 100.0
    unfinished = UnfinishedLog(log, lambda: now)
    for step in range(250):
        now = 100.0 + step / 10
        unfinished.show("stderr", f"{min(step, 210) // 10}%")

    assert ["0%", "10%", "20%"] == [e["text"] for e in logged.entries]


def test_a_line_that_has_ended_is_not_logged_as_one_without_an_end(log, logged):
    unfinished = UnfinishedLog(log, lambda: 100.0)
    unfinished.show("stdout", "")

    assert [] == logged.entries


async def test_of_two_streams_the_line_that_changed_last_is_announced(log):
    """A stream without a line hides none of the other."""
    announced = []
    handler = log_output(log, Redactor(()), announced.append)
    handler.on_unfinished("stderr", "10%")
    handler.on_unfinished("stdout", "Continue? ")
    handler.on_unfinished("stderr", "10%")
    handler.on_unfinished("stderr", "20%")
    handler.on_unfinished("stderr", "")
    handler.on_unfinished("stdout", "")

    assert ["10%", "Continue? ", "Continue? ", "20%", "Continue? ", ""] == announced


async def test_lines_that_are_handled_together_are_one_event(log, logged):
    """An event for each line would take ten times as long as the command that prints them."""
    handler = log_output(log, Redactor(()), lambda _: None)
    handler.handle_lines("stdout", ["a", "b", "c"])

    assert ["a\nb\nc"] == [e["text"] for e in logged.entries]
