"""The variables of ``plan``, compared with those that the command of a run gets."""

import json
import re

import pytest
from builders import a_commit, a_job, an_input

SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}
"""Variables that a shell sets itself."""
SECRET = {"name": "db", "key": "password", "envVar": "DB_PASSWORD"}
FILES = {"pfs": {"repo": "labresults", "name": "files", "glob": "/*"}}


@pytest.mark.parametrize(
    ("transform", "document", "flags", "environment"),
    [
        ({}, {}, (), {}),
        ({"env": {"A": "b", "API_TOKEN": "abcdefgh"}}, {}, (), {"LC_TIME": "C", "NOT_PASSED": "1"}),
        ({}, {}, ("--auth", "sigv4", "--pass-env", "MY_*"), {"MY_FLAG": "1"}),
        ({}, {}, ("--tls", "self-signed"), {}),
        ({}, {}, ("--host", "0.0.0.0"), {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "a,b"}),
        ({}, {}, ("--no-client-hints",), {}),
        ({"secrets": [SECRET, {"name": "db", "mountPath": "/etc/db"}]}, {}, (), {}),
        ({}, {"inputs": (an_input(), FILES)}, (), {}),
        ({}, {"inputs": (FILES,), "s3Out": False}, (), {}),
    ],
    ids=[
        "defaults",
        "env",
        "authentication",
        "TLS",
        "proxy",
        "no hints",
        "secrets",
        "cross",
        "no buckets",
    ],
)
def test_plan_shows_the_variables_that_the_command_gets(
    site, transform, document, flags, environment
):
    """All names, and the values that do not depend on the run."""
    a_commit(site.open(), {"a": b"1"})
    environment = {"WORKER_SECRET_DB_PASSWORD": "hunter22", **environment}
    dump = f"tr '\\0' '\\n' < /proc/self/environ > {site.root}/variables"
    job = a_job(dump, job={"id": "3f" * 16}, **document)
    job["transform"] |= transform
    path = site.job(job)

    planned = json.loads(site.worker("plan", path, "--json", *flags, **environment).out)
    done = site.worker("run", path, *flags, **environment)

    assert 0 == done.status, done.err
    lines = (site.root / "variables").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    shown, passed = planned["environment"], planned["passed_environment"]
    assert {*found} - SHELL == {*shown, *passed} - SHELL
    assert "NOT_PASSED" not in found
    for name, value in shown.items():
        # A placeholder stands for a part of the value.
        pattern = re.sub(r"<[a-z ]+>|\\\*\\\*\\\*", ".+", re.escape(value).replace("\\ ", " "))
        assert re.fullmatch(pattern, found[name]), (name, value, found[name])
    assert not {"hunter22", "abcdefgh"} & set(shown.values())


def test_plan_names_the_datum_whose_variables_it_shows(site):
    a_commit(site.open(), {"a": b"1", "b": b"2"})
    one, two = (
        site.worker("plan", site.job(a_job("true", inputs=inputs)), WORKER_LOG_FORMAT="console")
        for inputs in ((an_input(),), (FILES,))
    )

    assert "Environment\n" in one.out
    assert "Environment of the first datum\n" in two.out
