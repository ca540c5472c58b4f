"""Hostile reports: the outcome of a job stays, and its result and commit are strict JSON."""

import json
import sys

import pytest
from builders import a_commit, a_job
from scenarios.sites import Site

MAX_DOCUMENT = 2_000_000
"""Bytes of a commit and a result with all reports that are kept."""

SCRIPTS = {
    "a lone surrogate": r"""report('{"text": "\\ud800", "annotation": {"\\udfff": "\\udc00"}}')""",
    "900 lists": """report('{"metrics": {"a": ' + "[" * 900 + "]" * 900 + "}}")""",
    "deep beyond any limit": """report("[" * 60000)""",
    "NaN": """report('{"metrics": {"a": NaN, "b": [Infinity, -1e999]}, "progress": NaN}')""",
    "large integers": """report('{"metrics": {"a": %d, "b": 1%s}}' % (2**60 + 1, "0" * 4000))""",
    "integers beyond any limit": """report('{"progress": 1%s}' % ("0" * 60000))""",
    "2,000 large reports": """
for number in range(2000):
    report('{"annotation": {"a%d": "%s"}}' % (number, "x" * 60000))""",
    "a flood": """
for number in range(30):
    report(chr(10).join(['{"progress": 1}'] * 1000))""",
    "a line without an end": """
for _ in range(100):
    pipe.write(b"x" * 65536); pipe.flush()""",
    "no UTF-8": r"""pipe.write(b'{"text": "\xff\xfe"}\n' * 3)""",
    "control characters": r"""
report('{"\\u001b[2J\\n": 1, "text": "\\u001b[2J\\u0000", "metrics": {"\\u0000": 1}}')""",
    "types": """
for value in ("null", "true", "[]", "{}", '"x"', "-1", "1e308"):
    for key in ("progress", "text", "metrics", "annotation"):
        report('{"%s": %s}' % (key, value))""",
    "names of the log": """
report('{"text": 1, "event": 2, "level": 3, "time": 4, "": 5, "job": 6}')""",
    "interleaved writers": """
import subprocess
line = '{"annotation": {"a": "' + "x" * 20000 + '"}}'
code = f"open({path!r}, 'w').write({line + chr(10)!r} * 50)"
writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
for each in writers: each.wait()""",
    "a removed pipe": """os.unlink(path)""",
    "a file in its place": """os.unlink(path); open(path, "w").write('{"text": "file"}' * 1000)""",
    "a link in its place": """os.unlink(path); os.symlink("/dev/zero", path)""",
    "a folder in its place": """os.unlink(path); os.mkdir(path); open(path + "/x", "w")""",
    "a reader that takes reports": """
stolen = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
report('{"text": 1}')""",
    "a process that reports at the end": """
import subprocess
code = f"while True: open({path!r}, 'w').write('{{}}' + chr(10))"
subprocess.Popen([sys.executable, "-c", code])""",
}
"""What a command does with the pipe, by name."""
PRELUDE = """\
import os, sys
path = os.environ["WORKER_REPORT"]
pipe = open(path, "wb")
def report(text):
    pipe.write(text.encode() + b"\\n")
    pipe.flush()
"""
EPILOGUE = '\nreport(\'{"metrics": {"last": 1}}\')\n'


def strict(text: str):
    """Return a document of strict JSON: no NaN, no lone surrogates."""

    def reject(constant: str):
        raise ValueError(constant)

    found = json.loads(text, parse_constant=reject)
    json.dumps(found, ensure_ascii=False).encode()
    return found


@pytest.fixture
def site(tmp_path):
    """A site with an input commit."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    return site


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_report_never_changes_the_outcome(site, name):
    """The job succeeds; result, commit and log are strict JSON of bounded size."""
    job = a_job(datumTries=1)
    job["transform"]["cmd"] = [sys.executable, "-c", PRELUDE + SCRIPTS[name] + EPILOGUE]
    done = site.worker("run", "--job", site.job(job), "--log-format", "json", "--result", "r.json")
    assert 0 == done.status, done.err
    text = (site.root / "r.json").read_text()
    result = strict(text)
    shown = site.worker("show", result["output"], "--json").out

    assert (0, "success") == (result["exit_code"], result["state"])
    assert result["reports"] == strict(shown)["job"]["reports"]
    if name != "a line without an end":
        assert {"last": 1} == {k: v for k, v in result["reports"]["metrics"].items() if k == "last"}
    assert max(len(text), len(shown)) < MAX_DOCUMENT
    for line in done.err.splitlines():
        strict(line)
    assert [] == site.left_over()
