"""Hostile job documents: size, depth, aliases and numbers are bounded; errors show no secret."""

import json
import subprocess
import sys

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.errors import Cause, cause_of
from worker.job import plan
from worker.spec.document import DocumentErrors
from worker.spec.parse import parse

SIZE = 200_000
"""Characters of most documents; a cost that grows with the square is far beyond the timeout."""
HEAD = "pipeline: {name: p}\ninput: {pfs: {repo: r, glob: /}}\n"
LINE = "y" * SIZE


def laughs(value: str, levels: int) -> str:
    """Return lines of aliases that expand to nine times as many values each."""
    lines = [f"a0: &a0 {value}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def maps(levels: int) -> str:
    """Return objects that have the one before twice."""
    lines = ["a0: &a0 {x: y}"]
    lines += [f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}}}" for n in range(1, levels)]
    return "\n".join(lines)


ALIASED_GLOB = "input:\n  cross:\n" + "".join(
    f"  - pfs: {{repo: r, name: a{n}, glob: *g }}\n" for n in range(5000)
)
BOMBS = {
    "aliases of a long string": (f"a: &x {LINE}\nb: [{'*x ,' * 30_000}]", "strings"),
    "aliases of a long string as lines": (
        f"salt: &x {LINE}\ntransform:\n  stdin: [{'*x ,' * 30_000}]",
        "strings",
    ),
    "aliases of a long string as keys": (f"a: &x {LINE}\nb: {{{'? *x : 1,' * 20_000}}}", "strings"),
    "aliases of a list of strings": (f"a: &x [{LINE}]\nb: [{'*x ,' * 30_000}]", "strings"),
    "aliases of a glob": (f"salt: &g '/{'+(a)' * 1000}'\n{ALIASED_GLOB}", "strings"),
    "aliases of aliases": (laughs("[x, x, x, x, x, x, x, x, x]", 60), "more than 100000 values"),
    "aliases of aliases of a string": (laughs("y" * 1000, 60), "strings"),
    "aliases in objects": (maps(60), "more than 100000 values"),
    "merge keys": ("a: &a {x: 1}\nb: {" + "<<: *a, " * 60_000 + "}", "more than 100000 values"),
    "aliases of an empty list": (f"a: &x []\nb: [{'*x ,' * 110_000}]", "more than 100000 values"),
    "a recursive alias": ("a: &x [*x]", "precedes its anchor"),
    "a long alias": (f"a: *{'x' * SIZE}", "precedes its anchor"),
    "a long anchor": (f"a: &{'x' * SIZE} 1", "unknown key"),
    "many anchors": ("[" + ",".join(f"&a{n} 1" for n in range(30_000)) + "]", "found a list"),
    "a long tag": (f"a: !{'x' * SIZE} 1", "tag"),
    "a tag of Python": ("a: !!python/object/apply:os.system [id]", "tag"),
    "a directive of tags": ("%TAG ! tag:x,2000:\n---\na: !b c", "tag"),
    "deep lists": ("[" * SIZE, "nested deeper"),
    "deep objects": ('{"a":' * (SIZE // 5), "nested deeper"),
    "deep sequences": ("- " * SIZE + "x", "nested deeper"),
    "deep mappings": ("\n".join(" " * n + "a:" for n in range(600)), "nested deeper"),
    "deep questions": ("? " * SIZE, "nested deeper"),
    "deep inputs": ('{"input":' + '{"cross":[' * 300 + "]}" * 300 + "}", "nested deeper"),
    "one key, often": ("{" + ",".join(['"a":1'] * 40_000) + "}", "duplicate key"),
    "many keys": ("{" + ",".join(f'"k{n}":1' for n in range(20_000)) + "}", "unknown key"),
    "misspelled keys": (
        "{" + ",".join(f'"inputs{n}":1' for n in range(20_000)) + "}",
        "did you mean",
    ),
    "digits": (f'{{"datumTries": {"9" * SIZE}}}', "/datumTries: found the number inf"),
    "digits in a string": (f'{{"datumTries": "{"9" * SIZE}"}}', "/datumTries: found the string"),
    "digits that are none": (f"a: -{'9' * SIZE}x", "unknown key"),
    "a huge exponent": (f'{{"datumTries": 1e{"9" * SIZE}}}', "/datumTries: found the number inf"),
    "a tiny number": (f"datumTries: 1e-{'9' * SIZE}", "missing key"),
    "a large exponent": ('{"datumTries": 1e300}', "/datumTries: found the number 1e+300"),
    "not a number": ('{"datumTries": NaN}', "/datumTries: found"),
    "a long duration": (f'{{"jobTimeout": "{"1s" * (SIZE // 2)}"}}', "/jobTimeout: found"),
    "many documents": ("---\n" * (SIZE // 4), "several documents"),
    "many objects": ('{"a":1}' * (SIZE // 7), "several documents"),
    "U+0000": ("a: \0" * (SIZE // 4), "unacceptable character"),
    "an escaped U+0000": (
        '{"salt": "' + "\\u0000" * (SIZE // 6) + '"}',
        "/salt: the string holds U+0000",
    ),
    "surrogates": ('{"salt": "' + "\\ud800" * (SIZE // 6) + '"}', "/salt: the string holds U+0000"),
    "byte order marks": ("\ufeff" * SIZE + "{}", "expected an object"),
    "UTF-16": (f"a: {LINE}".encode("utf-16"), "not UTF-8"),
    "UTF-32": ("a: 1".encode("utf-32"), "not UTF-8"),
    "an overlong form": (b"a: \xc0\x80", "not UTF-8"),
    "an open quote": (f"a: '{LINE}", "end of stream"),
    "quotes": ("a: '" + "''" * SIZE + "'", "unknown key"),
    "commas": ("[" + "," * SIZE, "line 1, column 2"),
    "brackets": ("[{" * SIZE, "line 1, column 3"),
    "percent signs": ("%a\n" * SIZE, "start with %"),
    "comments": ("#\n" * SIZE + "a: 1", "unknown key"),
    "escapes": ('{"a": "' + "\\u12" * SIZE + '"}', "Invalid"),
    "a text beyond the limit": ("x" * ((1 << 20) + 1), "the limit is 1048576 bytes"),
}
"""Documents by name, each with a part of its error."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("text", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_a_short_error(text, reason):
    """It is read in time and memory that are proportional to its length."""
    with pytest.raises(DocumentErrors) as rejected:
        parse(text)

    message = str(rejected.value)
    assert reason in message
    assert len(message) < 100_000


@pytest.mark.timeout(20)
@pytest.mark.parametrize("source", ["/dev/zero", "-"])
def test_an_endless_document_is_an_error(source):
    """No more of it is read than a document may have."""
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(
            [sys.executable, "-m", "worker", "validate", source],
            stdin=endless,
            capture_output=True,
            text=True,
            check=False,
        )

    assert 64 == done.returncode
    assert "the text is too long" in done.stderr


SECRET = "hunter2-5up3r"
JSON_WITH_SECRET = {
    "an object instead of a value": {"env": {"TOKEN": {"value": SECRET}}},
    "a list instead of variables": {"env": [f"TOKEN={SECRET}"]},
    "a string instead of variables": {"env": f"TOKEN={SECRET}"},
    "a variable in a key": {"env": {f"TOKEN={SECRET}": ""}},
    "a variable in a key without a value": {"env": {f"TOKEN={SECRET}": None}},
    "U+0000": {"env": {"TOKEN": f"{SECRET}\0"}},
    "an unpaired surrogate": {"env": {"TOKEN": f"{SECRET}\ud800"}},
    "a string instead of secrets": {"secrets": f"TOKEN={SECRET}"},
    "a string instead of a secret": {"secrets": [f"TOKEN={SECRET}"]},
    "a value as a name": {"secrets": [{"name": f"{SECRET}!", "envVar": "A", "key": "k"}]},
    "a value as a key": {"secrets": [{"name": "n", "envVar": "A", "key": f"{SECRET}!"}]},
    "a value as a variable": {"secrets": [{"name": "n", "envVar": SECRET, "key": "k"}]},
    "a value as a path": {"secrets": [{"name": "n", "mountPath": SECRET}]},
    "a value in a key of a secret": {"secrets": [{f"name={SECRET}": "n"}]},
    "a long key": {"env": {f"TOKEN={SECRET}{'x' * 1024}": ""}},
    "a NUL in the value of a key": {"env": {f"TOKEN={SECRET}": "\0"}},
    "a value in an unknown key": {"secrets": [{"name": "n", "value": SECRET}]},
    "another name of the variables": {"environment": {"TOKEN": SECRET}},
}
YAML_WITH_SECRET = {
    "a tag": f"{{env: {{TOKEN: !{SECRET} }}}}",
    "an alias": f"{{env: {{TOKEN: *{SECRET} }}}}",
    "a list": f"{{env: {{TOKEN: [{SECRET}]}}}}",
    "a character that starts no string": f"{{env: {{TOKEN: @{SECRET} }}}}",
    "a percent sign": f"{{env: {{TOKEN: %{SECRET} }}}}",
    "a colon": f"{{env: {{TOKEN: {SECRET}: {SECRET}}}}}",
    "an open quote": f"{{env: {{TOKEN: '{SECRET} }}}}",
    "an escape": f'{{env: {{TOKEN: "{SECRET}\\q" }}}}',
    "keys without values": f"{{env: {{TOKEN={SECRET}, A=b}}}}",
    "keys with a colon": f"{{env: {{TOKEN:{SECRET}, A:b}}}}",
    "the same key twice": f"{{env: {{TOKEN={SECRET}, TOKEN={SECRET}}}}}",
    "a key of the transform": f"{{TOKEN={SECRET}, cmd: [a]}}",
    "secrets as an object": f"{{secrets: {{TOKEN: {SECRET}}}}}",
}
WITH_SECRET = {
    **{name: json.dumps({"transform": each}) for name, each in JSON_WITH_SECRET.items()},
    **{f"{name} of YAML": f"transform: {each}" for name, each in YAML_WITH_SECRET.items()},
}


@pytest.mark.parametrize("text", WITH_SECRET.values(), ids=WITH_SECRET)
def test_an_error_repeats_no_variable_or_secret(text):
    """Which values are secret is known only once the document is valid."""
    with pytest.raises(DocumentErrors) as rejected:
        parse(text)

    assert SECRET not in str(rejected.value)
    assert SECRET not in repr(rejected.value.problems)


def a_cross(inputs: int) -> str:
    """Return a job of which each file of each input is a part of a datum."""
    nodes = [an_input(f"i{n}", repo="labresults", s3=False, glob="/*") for n in range(inputs)]
    return json.dumps(a_job(inputs=tuple(nodes)))


@pytest.mark.parametrize("inputs", [8, 500])
def test_more_datums_than_anybody_can_process_are_an_error(store, inputs):
    """The error has no number of them: Python does not print one of more than 4,300 digits."""
    a_commit(store, {f"{n}": b"1" for n in range(10)})

    with pytest.raises(plan.TooManyDatums) as rejected:
        plan.make_plan(store, parse(a_cross(inputs)), job=an_id())

    assert f"{inputs:,} inputs of the job have more than 10,000,000 datums" in str(rejected.value)
    assert Cause.INVALID is cause_of(rejected.value)


def test_the_json_of_a_plan_is_bounded(store, monkeypatch):
    """It has the number of all datums, and lists some."""
    monkeypatch.setattr(plan, "MAX_PATHS", 100)
    a_commit(store, {f"{n}": b"1" for n in range(10)})

    found = plan.make_plan(store, parse(a_cross(7)), job=an_id()).to_json()

    assert (10_000_000, 15) == (found["datum_count"], len(found["datums"]))
