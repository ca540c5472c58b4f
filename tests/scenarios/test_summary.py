"""What a run reports at its end: what it read and wrote, why it failed, and what to do next."""

import json
import os
import shlex
import signal
import subprocess

import pytest
from builders import a_commit, a_job

from worker.cli.summary import NextCommands, fields, summary
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State

READS = "aws s3 cp s3://labresults/a.txt - --only-show-errors > /dev/null"
WRITES = "echo data | aws s3 cp - s3://out/half --only-show-errors"
FAILS = "echo cannot read plate 7 >&2; exit 3"
TEXT = {"WORKER_LOG_FORMAT": "console"}


def commands(text):
    """Return the command lines in a report, as words."""
    return [shlex.split(line) for line in text.splitlines() if line.startswith("  worker ")]


def follow(site, words):
    """Run a command line that a report names, without the variable that names the store."""
    without = {name: value for name, value in site.environment.items() if name != "WORKER_STORE"}
    return subprocess.run(
        site.command(*words[1:]),
        cwd=site.root,
        env=without,
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def given(site):
    """An input commit of one file in a folder whose name has a space, relative to the site."""
    from worker.store.opening import open_store

    return a_commit(open_store(site.root / "the lake"), {"a.txt": b"12345"})


def run(site, document, *arguments, **environment):
    """Run a job on the store of `given`, which only an option names."""
    arguments = ("--store", "./the lake", *arguments)
    return site.worker("run", "--job", site.job(document), *arguments, **environment)


def test_the_summary_of_a_success_tells_what_was_read_and_written(site, given):
    """The only line of standard output is the commit, and each command of the summary works."""
    done = run(site, a_job(READS, WRITES), **TEXT)

    commit = done.out.strip()
    assert 1 == len(done.out.splitlines())
    said = " ".join(done.err.split())
    assert f"s3://labresults: 1 read, 5 bytes of {given.name}" in said
    assert "s3://out: 1 object, 5 bytes" in said
    assert "1 file, 5 bytes on copy@master" in said
    assert str(site.root / "the lake") in said
    lists, shows = commands(done.err)
    assert ("ls", "show") == (lists[1], shows[1])
    assert "half" in follow(site, lists).stdout
    assert commit in follow(site, shows).stdout


def test_the_summary_is_an_event_of_a_log_in_json(site, given):
    done = run(site, a_job(READS, WRITES))

    event = done.events[-1]
    assert "worker.succeeded" == event["event"]
    assert (done.out.strip(), "copy@master", 1, 5) == tuple(
        event[name] for name in ("commit", "branch", "files", "size")
    )
    assert {"labresults": str(given.name)} == event["inputs"]
    assert (1, 5) == tuple(
        event["buckets"]["labresults"][name] for name in ("get_requests", "bytes_read")
    )
    assert ["ls", "show"] == [command.split()[1] for command in event["next"]]


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("changes", "arguments"),
    [({}, ()), ({"datumTries": 2}, ()), ({}, ("--log-level", "error"))],
    ids=["one try", "two tries", "errors only"],
)
@pytest.mark.parametrize("environment", [TEXT, {}], ids=["text", "json"])
def test_the_reason_of_a_failure_is_reported_once(site, changes, arguments, environment):
    """Beside the reasons of earlier tries, which need not be the same, and without a traceback."""
    done = run(site, a_job(FAILS, **{"datumTries": 1, **changes}), *arguments, **environment)

    assert 10 == done.status
    tries = changes.get("datumTries", 1)
    assert tries == done.err.count("the command exited with code 3")
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("given")
def test_the_last_lines_of_the_command_are_repeated_if_the_log_hides_them(site):
    shown = run(site, a_job(FAILS, datumTries=1), **TEXT)
    hidden = run(site, a_job(FAILS, datumTries=1), "--log-level", "error", **TEXT)

    assert "Last lines of the command:" not in shown.err
    assert "│ cannot read plate 7" in hidden.err.partition("Last lines of the command:")[2]


@pytest.mark.usefixtures("given")
def test_the_commands_after_a_failure_keep_its_output_and_show_it(site):
    """With the options of the run, so that they can be pasted."""
    document = a_job(WRITES, FAILS, datumTries=1)
    failed = run(site, document, "--grace", "2s", "--log-level", "error", **TEXT)

    assert "s3://out: 1 object, 5 bytes, discarded" in failed.err
    again, shell = commands(failed.err)
    assert ["worker", "shell", "--job", str(site.root / "job.json")] == shell[:4]
    assert ["--store", "./the lake"] == shell[4:6]
    assert ["--grace", "2s"] == shell[6:8]
    kept = follow(site, [*again, "--log-format", "console"])
    assert (10, "--keep-failed") == (kept.returncode, again[-1])
    lists, shows, shell = commands(kept.stderr)
    assert "half" in follow(site, lists).stdout
    assert "failure" in follow(site, shows).stdout
    listed = follow(site, [*shell, "--", "aws", "s3", "ls", "s3://labresults"])
    assert "a.txt" in listed.stdout


@pytest.mark.usefixtures("given")
def test_a_document_from_standard_input_is_a_placeholder_in_the_commands(site):
    done = site.worker(
        "run", "-", "--store", "the lake", given=json.dumps(a_job(FAILS, datumTries=1)), **TEXT
    )

    assert [["--job", "FILE"]] * 2 == [words[2:4] for words in commands(done.err)]


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("name", ["a\nb.json", "it's\x07.json", "\udcff.json"])
def test_the_commands_can_be_pasted_whatever_the_document_is_called(site, name):
    """Also with control characters, which the terminal must not get, and other bytes."""
    path = site.job(a_job(FAILS, datumTries=1), name)
    done = site.worker("run", "--job", path, "--store", "./the lake", **TEXT)
    (line,) = (line for line in done.err.splitlines() if line.startswith("  worker shell "))
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s|' {line}"], capture_output=True, check=True
    ).stdout

    assert os.fsencode(f"worker|shell|--job|{path}|--store|./the lake|") == shown


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("environment", [TEXT, {}], ids=["text", "json"])
def test_a_run_that_was_interrupted_advises_no_other_try(site, environment):
    """The user has decided it; a scheduler finds the exit status."""
    document = a_job(f"kill -{signal.SIGINT} $AGENT; sleep 1000")
    command = site.command("run", "--job", site.job(document), "--store", "the lake")
    # The shell becomes the worker, whose process id it knows.
    command = ["sh", "-c", f"AGENT=$$ exec {shlex.join(command)} --pass-env AGENT"]

    done = subprocess.run(
        command,
        cwd=site.root,
        env={**site.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert 75 == done.returncode
    assert 1 == done.stderr.count("stopped by SIGINT before it could publish")
    assert "retry" not in done.stderr
    assert [] == commands(done.stderr)


def test_a_folder_as_input_is_reported_as_its_commit(site):
    """Also one that is unchanged, which makes no new commit."""
    (site.root / "results").mkdir()
    (site.root / "results" / "a.txt").write_text("1")

    first, second = (run(site, a_job("true"), "--input", "labresults=results") for _ in range(2))

    events = [
        next(each for each in done.events if each["event"] == "input.committed")
        for done in (first, second)
    ]
    assert [("labresults", 1, True), ("labresults", 1, False)] == [
        (each["input"], each["files"], each["changed"]) for each in events
    ]
    assert 1 == len({each["commit"] for each in events})
    assert events[0]["commit"] == first.events[-1]["inputs"]["labresults"]


FILES = {"pfs": {"repo": "labresults", "name": "files", "glob": "/none*"}}


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("document", "texts"),
    [
        (a_job("true"), ["the output is empty: s3://out contains no file at the end"]),
        (
            a_job("true", inputs=(FILES,)),
            [
                "input 'files': the glob '/none*' matches none of the 1 files",
                "the job has no datum",
            ],
        ),
        (
            a_job("sleep 1000 & exit 1", datumTries=2),
            ["the command left process", "the command left process"],
        ),
    ],
    ids=["empty output", "no datum", "failure of two tries"],
)
@pytest.mark.parametrize("environment", [TEXT, {}], ids=["text", "json"])
def test_the_summary_shows_each_warning_once(site, document, texts, environment):
    done = run(site, document, **environment)

    if environment:
        summary = " ".join(done.err[done.err.index("warnings  ") :].split())
        assert [texts.count(text) for text in texts] == [summary.count(text) for text in texts]
    else:
        warnings = done.events[-1]["warnings"]
        assert texts == [each[: len(text)] for each, text in zip(warnings, texts, strict=True)]


def test_a_warning_that_recurs_with_each_try_is_shown_once():
    result = Result("a" * 32, State.FAILURE, Cause.COMMAND_FAILED, warnings=("one", "two", "one"))

    lines = summary(result, NextCommands(), store="")
    assert ["warnings  one", "          two"] == lines
    assert ["one", "two"] == fields(result, NextCommands(), store="")["warnings"]


@pytest.mark.parametrize("fails", [False, True], ids=["recovered", "failed"])
def test_the_summary_counts_several_datums_once(site, fails):
    """A failure does so in its reason."""
    from worker.store.opening import open_store

    a_commit(open_store(site.root / "the lake"), {"1": b"", "2": b"", "3": b""})
    files = {"pfs": {"repo": "labresults", "glob": "/*"}}
    document = a_job('case "$labresults" in */2) exit 1; esac', inputs=(files,), datumTries=1)
    document["transform"] |= {"errCmd": ["sh"], "errStdin": ["exit 1"] if fails else ["exit 0"]}

    done = run(site, document, **TEXT)

    counts = "1 of 3 datums failed" if fails else "2 of 3 processed, 1 recovered"
    assert 1 == done.err.count(counts)
    assert fails != ("datums  " in done.err)


@pytest.mark.usefixtures("given")
def test_a_job_whose_time_is_over_is_not_advised_to_keep_its_output(site):
    """Its output cannot be kept; a shell on its buckets can be opened."""
    done = run(site, a_job("sleep 1000", jobTimeout="1s"), **TEXT)

    assert 12 == done.status
    assert ["shell"] == [words[1] for words in commands(done.err)]


@pytest.mark.usefixtures("given")
def test_the_summary_of_a_job_that_was_published_before_claims_no_reading(site):
    """The inputs of its result are those of the earlier run."""
    document = a_job(READS, WRITES, job={"id": "3f" * 16})
    first, second = (run(site, document, **TEXT) for _ in range(2))

    assert first.out == second.out
    assert "s3://labresults" in first.err
    assert "s3://labresults" not in second.err
    assert "1 file, 5 bytes on copy@master, published before" in second.err


@pytest.mark.usefixtures("given")
def test_a_terminal_shows_traffic_while_the_command_runs(site):
    """In a terminal of 80 columns, on its last line."""
    shown = site.root / "shown"
    document = a_job(READS, WRITES, f"until [ -e {shown} ]; do sleep 0.1; done")
    command = shlex.join(site.command("run", "--job", site.job(document), "--store", "the lake"))
    process = subprocess.Popen(
        ["script", "-qec", f"stty cols 80; {command}", "/dev/null"],
        cwd=site.root,
        env={**os.environ, **site.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    status = ""
    while not status.endswith("labresults 1 read, 5 bytes · out 1 object, 5 bytes"):
        character = process.stdout.read(1)
        assert character, status
        status = "" if character == "\r" else status + character
    shown.touch()
    rest, _ = process.communicate(timeout=240)

    assert 0 == process.returncode
    assert " · running · " in status
    assert "on copy@master" in rest
