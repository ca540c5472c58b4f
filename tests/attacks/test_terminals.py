"""Text of stores, documents, commands and clients on a terminal: it cannot drive the terminal."""

import json
import re

import attrs
import pytest
from builders import a_commit
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import failures
from worker.cli import terminal as output
from worker.model import BranchName, CommitName, InputRecord, Repo
from worker.store.trees import apply
from worker.telemetry import ConsoleRenderer
from worker.text import escape_controls, escape_json

FORGED = "worker: published"
HOSTILE = {
    "title": "\x1b]0;owned\x07",
    "cursor": "\x1b[2J\x1b[1;1H",
    "C1": "\x9b31m\x9d0;owned\x9c",
    "delete": "\x7f\x08\x08",
    "line feed": f"\n{FORGED}",
    "carriage return": f"\r{FORGED}",
    "next line": f"\x85{FORGED}",
    "line separator": f"\u2028{FORGED}",
    "paragraph separator": f"\u2029{FORGED}",
    "vertical tab": f"\x0b{FORGED}",
    "override": "\u202egpj.exe",
    "isolate": "\u2066\u2069",
    "mark": "\u200f\u200e\u061c",
    "invisible": "\u200b\xad\u2060\u2064\u206f\u180e\ufeff\U000e0041",
    "tab": "a\tb",
}
DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def assert_harmless(text):
    """Assert that *text* has only its own lines, and no characters that drive a terminal."""
    assert not DANGEROUS.findall(text)
    assert not [line for line in text.split("\n") if line.startswith(FORGED)]


@pytest.fixture(params=[False, True], ids=["pipe", "terminal"])
def on_terminal(request, monkeypatch):
    """Whether standard output is a terminal; it shows no styles."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(output, "on_terminal", lambda: request.param)
    return request.param


@pytest.fixture
def hostile(store):
    """A store whose commits have hostile text wherever they have free text."""
    text = "|".join(HOSTILE.values())
    record = InputRecord("labresults", a_commit(store, {"a": b"1"}).name, branch="m", s3=True)
    record = attrs.evolve(record, name=text, glob=text, branch=text, s3=False)
    job = {
        "id": text,
        "pipeline": text,
        "project": text,
        "description": text,
        "parent": text,
        "command": ["sh", "-c", text],
        "spec": {"transform": {"stdin": [text]}},
        "image": text,
        "image_digest": text,
        "warnings": [text],
        "times": {text: 1.0},
        "buckets": {text: {"reads": 1}},
        "reports": {text: text},
    }
    made = a_commit(store, {text: b"1", f"folder{text}/b": b"2"}, repo="odd", job=job)
    tree = store.tree(made)
    entry = attrs.evolve(
        next(tree.entries()),
        # No other control characters can be in a stored header.
        headers={"content-type": "\x9b31m\x9d0;owned\x9c"},
        metadata={"name": text},
        tags={text: text},
    )
    tree = apply(tree, [(entry.key, entry)])
    name = CommitName(made.name.repo, "e" * 32)
    commit = attrs.evolve(
        made, name=name, message=text, root=tree.root, digest=tree.digest, inputs=(record,)
    )
    store.add_commit(commit)
    store.advance(BranchName(Repo("default", "odd"), "master"), commit)
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("ls", "odd"), id="ls"),
        pytest.param(("ls", "-r", "odd"), id="ls -r"),
        pytest.param(("ls", "odd:{}"), id="ls of a file"),
        pytest.param(("ls", "odd:{}/none"), id="ls of nothing"),
        pytest.param(("ls", "odd@{}"), id="ls of no ref"),
        pytest.param(("ls", "--json", "odd"), id="ls --json"),
        pytest.param(("cat", "odd:{}/none"), id="cat of nothing"),
        pytest.param(("cat", "odd:folder{}"), id="cat of a folder"),
        pytest.param(("log", "odd"), id="log"),
        pytest.param(("log", "odd:{}"), id="log of a path"),
        pytest.param(("log", "--json", "odd"), id="log --json"),
        pytest.param(("show", "odd"), id="show"),
        pytest.param(("show", "--json", "odd"), id="show --json"),
        pytest.param(("show", "odd:{}"), id="show of a file"),
        pytest.param(("show", "--json", "odd:{}"), id="show of a file --json"),
        pytest.param(("repos",), id="repos"),
        pytest.param(("repos", "--store", "{}"), id="repos of no store"),
        pytest.param(("verify",), id="verify"),
        pytest.param(("get", "odd:{}", "target/{}"), id="get"),
        pytest.param(("put", "odd@{}", "."), id="put to no ref"),
        pytest.param(("put", "odd", "{}"), id="put of nothing"),
        pytest.param(("validate", "{}"), id="validate of no file"),
        pytest.param(("{}",), id="no command"),
        pytest.param(("ls", "--{}"), id="no option"),
    ],
)
@pytest.mark.usefixtures("on_terminal")
def test_hostile_text_of_a_store_is_escaped(worker, hostile, arguments):
    """In names, messages and records of commits, and where an error repeats an argument."""
    done = worker(*(each.replace("{}", hostile) for each in arguments))

    assert_harmless(done.out + "\n" + done.err)


@pytest.mark.usefixtures("hostile", "on_terminal")
def test_json_has_the_exact_names(worker, hostile):
    """Escapes of JSON: a program reads the same value."""
    lines = worker("ls", "--json", "odd").out.splitlines()

    assert [hostile, f"folder{hostile.split('/')[0]}/"] == sorted(
        (json.loads(line)["key"] for line in lines), key=len
    )


@given(st.text(), st.sampled_from([None, 2]))
def test_escaped_json_is_the_same_value(text, indent):
    """Any text, also unpaired surrogates; only the lines of an indented value are lines."""
    value = {text: [text]}

    escaped = escape_json(json.dumps(value, ensure_ascii=False, indent=indent))

    assert value == json.loads(escaped)
    assert escaped == escape_controls(escaped, keep="\n")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_errors_and_log_lines_are_escaped(capsys, text):
    """Names in an error may come from a store, a client or a command."""
    failures.report_error(FileNotFoundError(2, "No such file", f"a{text}"), debug=False)
    failures.report_error(RuntimeError(text), debug=True)
    render = ConsoleRenderer(colors=False, tracebacks=True)
    event = {"time": "12:00:00", "level": "info", "event": f"a{text}", f"b{text}": f"c{text}"}
    lines = render(None, "info", event)
    printed = {"time": "12:00:00", "event": "command.output", "stream": text, "level": "info"}
    lines += "\n" + render(None, "info", {**printed, "text": f"a{text}"})

    assert_harmless(capsys.readouterr().err)
    assert_harmless(lines)


def test_an_error_of_several_lines_forges_none(capsys):
    """All lines but the first are indented."""
    failures.print_error("worker: a\nworker: b\n  c")

    assert "worker: a\n  worker: b\n  c\n" == capsys.readouterr().err


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.usefixtures("on_terminal")
def test_problems_of_a_document_are_escaped(worker, tmp_path, text):
    """Its keys and values are repeated in errors and warnings."""
    document = {
        "pipeline": {"name": text},
        "input": {"pfs": {"repo": text, "name": text, "glob": f"[{text}"}},
        "transform": {"cmd": text, text: text, "user": text, "env": {text: text}},
        text: {text: text},
    }
    (tmp_path / "job.json").write_text(json.dumps(document))

    for arguments in (("validate", "job.json"), ("validate", "--json", "job.json")):
        done = worker(*arguments)
        assert_harmless(done.out + "\n" + done.err)
        assert 64 == done.status
