"""Secrets that a command plants wherever a run takes texts from: no sink shows any spelling."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from urllib.parse import unquote

import attrs
import pytest
from builders import a_commit, a_job, an_input
from scenarios.sites import Output, Site
from spellings import SPELLINGS

from worker.redaction import HIDDEN

SECRET = "p@ss w-ö&<'\"\\$+%7E€\U0001f511=end"
"""A secret that can be a file name, an argument and a variable."""
PIN = 4815162342
"""A secret that reports have as a number."""
SPELLED = {name: spell(SECRET) for name, spell in SPELLINGS.items()}
PLANTING = """\
import json, os, subprocess, sys, time, urllib.parse, urllib.request
secret, spelled, pin = os.environ["PW"], json.load(open(sys.argv[1])), int(os.environ["PIN"])
for name, text in spelled.items():
    print(f"out {name}:", text)
    print(f"err {name}:", text, file=sys.stderr)
print("env:", json.dumps(dict(os.environ)))
sys.stdout.flush()
with open(os.environ["WORKER_REPORT"], "w") as pipe:
    for report in (
        {"progress": secret, "text": "text:" + secret},
        {"annotation": {"name:" + secret: ["value:" + secret, spelled]}},
        {"metrics": {"pin": pin, secret: float(pin)}},
        {"unknown " + secret: secret, "text": "last:" + secret},
        {"invalid": "x" * 150 + secret},
    ):
        pipe.write(json.dumps(report) + "\\n")
key = urllib.parse.quote("upload:" + secret)
base = os.environ["S3_ENDPOINT"]
urllib.request.urlopen(urllib.request.Request(f"{base}/out/{key}?uploads", method="POST"))
urllib.request.urlopen(urllib.request.Request(f"{base}/out/ok", data=b"x", method="PUT"))
for padding in ("", "x" * 975, "y" * 985):
    code = "import time; time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code, padding + "left:" + secret])
time.sleep(0.5)
"""


@attrs.frozen
class Run:
    """What a run and the commands after it have written, by sink."""

    status: int
    sinks: dict[str, str]


def run(site: Site, job: dict, *, log_format: str = "json") -> Run:
    """Run *job* with the secrets, and return all that it has written."""
    job["transform"].setdefault("secrets", []).extend(
        {"name": "db", "key": key, "envVar": variable}
        for key, variable in (("password", "PW"), ("pin", "PIN"))
    )
    job["transform"]["debug"] = True
    done = site.worker(
        *("run", "--job", site.job(job), "--json", "--log-level", "debug", "--debug"),
        *("--log-format", log_format, "--result", "result.json", "--keep-failed"),
        *("--termination-message", "message"),
        WORKER_SECRET_DB_PASSWORD=SECRET,
        WORKER_SECRET_DB_PIN=str(PIN),
        WORKER_PASS_ENVIRONMENT="DEPLOY_TOKEN,PROXY",
        DEPLOY_TOKEN="passed-through-5",
        PROXY="http://user:in-the-url@proxy:3128",
    )
    sinks = {"log": done.err, "standard output": done.out}
    for name in ("result.json", "message"):
        sinks[name] = (site.root / name).read_text()
    for path in sorted((site.root / "store").rglob("*")):
        if path.is_file() and "commits" in str(path):
            sinks["commits"] = sinks.get("commits", "") + path.read_text()
    result = json.loads(sinks["result.json"])
    commit = result["output"] or result["kept"]
    if commit:
        for command in ("show", "log"):
            found: Output = site.worker(command, commit, "--json")
            assert 0 == found.status, found.err
            sinks[f"worker {command}"] = found.out
    return Run(done.status, sinks)


def planting(site: Site, **changes) -> dict:
    """Return a job whose command plants the secret."""
    (site.root / "spelled.json").write_text(json.dumps(SPELLED))
    job = a_job(f"stdin:{SECRET}", inputs=(an_input(),), datumTries=1, **changes)
    job["transform"] |= {
        "cmd": [sys.executable, "-c", PLANTING, str(site.root / "spelled.json"), f"argv:{SECRET}"],
        "env": {"SAME": f"env:{SECRET}", "API_TOKEN": "t0ken value", "ALIAS": "t0ken value"},
        "errStdin": [f"errStdin:{SECRET}"],
    }
    job["description"] = f"description:{SECRET}"
    job["job"] = {"parent": f"parent:{SECRET}"}
    job["metadata"] = {"labels": {f"label:{SECRET}": "1"}, "annotations": {"a": f"note:{SECRET}"}}
    return job


def missing_command(_site: Site) -> dict:
    job = a_job(datumTries=1)
    job["transform"]["cmd"] = [f"/nonexistent/command:{SECRET}"]
    return job


def missing_folder(_site: Site) -> dict:
    job = a_job(datumTries=1)
    job["transform"]["workingDir"] = f"/nonexistent/cwd:{SECRET}"
    return job


def failing(_site: Site) -> dict:
    """The reason of each datum is its last line, cut at 300 characters; its path is the secret."""
    job = a_job(
        "printf '%0150d last:%s tail %0300d\\n' 0 \"$PW\" 0; exit 3",
        inputs=(an_input(glob="/*", s3=False),),
        datumTries=1,
    )
    job["s3Out"] = False
    return job


def linking(_site: Site) -> dict:
    """A link out of the output, whose name and target have the secret."""
    job = a_job(
        'ln -s "/nonexistent/target:$PW" "$PFS_ROOT/out/link:$PW"',
        inputs=(an_input(s3=False),),
        datumTries=1,
    )
    job["s3Out"] = False
    return job


SCENARIOS: dict[str, tuple[Callable[[Site], dict], int]] = {
    "planted": (planting, 0),
    "missing command": (missing_command, 10),
    "missing folder": (missing_folder, 10),
    "failing datums": (failing, 10),
    "link": (linking, 10),
}
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "planted": {
        "log": (
            *(f"{stream} {name}:" for stream in ("out", "err") for name in SPELLED),
            *("text:", "name:", "value:", "last:", "upload:", "left:", "argv:"),
        ),
        "result.json": ("name:", "value:", "last:", "upload:", "left:"),
        "message": ("upload:",),
        "standard output": ("name:", "value:", "upload:", "left:"),
        "commits": (
            *("argv:", "stdin:", "errStdin:", "env:", "description:", "name:", "upload:"),
            *("parent:", "label:", "note:"),
        ),
        "worker show": ("argv:", "stdin:", "env:", "name:", "upload:", "left:"),
    },
    "missing command": {
        "log": ("command:",),
        "result.json": ("command:",),
        "message": ("command:",),
    },
    "missing folder": {"log": ("cwd:",), "result.json": ("cwd:",), "commits": ("cwd:",)},
    "failing datums": {"log": ("last:",), "result.json": ("last:",), "commits": ("last:", "path:")},
    "link": {"log": ("link:",), "result.json": ("link:",), "commits": ("link:",)},
}
"""Where the secret is planted, by scenario and sink: texts that have a mark after them."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the run of a scenario and a log format, which is run once."""

    @cache
    def found(scenario: str, log_format: str) -> Run:
        root = tmp_path_factory.mktemp("site")
        site = Site(root, str(root / "store"))
        site.scratch.mkdir()
        a_commit(site.open(), {"a": b"1", f"path:{SECRET}": b"2"})
        build, status = SCENARIOS[scenario]
        done = run(site, build(site), log_format=log_format)
        assert status == done.status, done.sinks["log"]
        return done

    return found


def leaks(text: str) -> Iterator[str]:
    """Yield the spellings of secrets in *text*."""
    # A text in a JSON document is escaped once more.
    spelled = SPELLED | {
        f"{name} in JSON": json.dumps(each)[1:-1] for name, each in SPELLED.items()
    }
    others = {each: each for each in (str(PIN), "t0ken value", "passed-through-5", "in-the-url")}
    for name, each in (spelled | others).items():
        if each in text:
            yield name


@pytest.mark.timeout(240)
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_sink_shows_a_secret(runs, scenario, log_format):
    """Neither in full, in any spelling, nor its start before a cut."""
    for sink, text in runs(scenario, log_format).sinks.items():
        assert [] == list(leaks(text)), sink
        assert SECRET[:6] not in text, sink


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("scenario", "sink"), [(scenario, sink) for scenario in PLACES for sink in PLACES[scenario]]
)
def test_each_place_has_a_mark(runs, scenario, sink):
    """The text around a secret stays."""
    text = runs(scenario, "json").sinks[sink]
    missing = [
        place
        for place in PLACES[scenario][sink]
        if not any(
            place + space + quote + HIDDEN in text for space in ("", " ") for quote in ("", "'")
        )
    ]

    assert [] == missing


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_documents_stay_valid(runs, scenario):
    """Redaction changes texts of documents, not the documents."""
    done = runs(scenario, "json")
    for sink in done.sinks.keys() - {"log", "commits"}:
        for line in [done.sinks[sink]] if "worker" not in sink else done.sinks[sink].splitlines():
            json.loads(line)
    for line in done.sinks["log"].splitlines():
        json.loads(line)
    assert done.status == json.loads(done.sinks["result.json"])["exit_code"]


@pytest.fixture
def site(tmp_path):
    """A site with an input commit."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    return site


def with_argument(word: str) -> dict:
    """Return a job whose command line has *word*, and a secret in a variable."""
    job = a_job("true", job={"id": "a" * 32})
    job["transform"] |= {"cmd": ["sh", "-s", word], "env": {"API_TOKEN": SECRET}}
    return job


def test_a_job_with_a_secret_in_its_command_is_the_same_job(site):
    """The commit records a mark in its place, which stands for any value."""
    job = site.job(with_argument(SECRET))

    assert 0 == site.worker("run", "--job", job).status
    assert "published before" in site.worker("run", "--job", job).err


def test_the_difference_to_another_job_has_no_secret(site):
    assert 0 == site.worker("run", "--job", site.job(with_argument("one"))).status
    job = site.job(with_argument(SECRET))
    done = site.worker("run", "--job", job, "--log-format", "console")

    assert 64 == done.status
    assert "/transform/cmd/2: was 'one', now '***'" in done.err


@pytest.mark.parametrize("value", ["abc", "True"])
def test_a_secret_that_cannot_be_redacted_is_a_warning(site, value):
    """It is too short, or a common word; the result has the warning, and no text is hidden."""
    job = a_job(f"echo x{value}y true")
    job["transform"]["env"] = {"API_TOKEN": value}
    done = site.worker("run", "--job", site.job(job), "--result", "r.json")
    found = json.loads((site.root / "r.json").read_text())

    assert 0 == done.status
    assert "the secret API_TOKEN is not redacted" in found["warnings"][0]
    assert [f"x{value}y true"] == found["log_tail"]


URLS = {
    "a password": ("postgres://u:{}@db:5432/x?a=b@c", "pass-w0rd"),
    "without a user": ("redis://:{}@db/1", "pass-w0rd"),
    "with an at sign": ("postgres://u:{}@db:5432/x", "p@ss-w0rd@home"),
    "with a slash": ("postgres://u:{}@db/x", "pass/w0rd"),
    "with a question mark": ("postgres://u:{}@db/x", "pass?w0rd#1"),
    "with percent encoding": ("http://u:{}@proxy:1/", "p%40ss-w0rd%2f"),
}


@pytest.mark.parametrize(("url", "password"), URLS.values(), ids=URLS)
def test_the_password_of_a_url_is_replaced(site, url, password):
    """As it is, decoded, and in the header of HTTP that curl makes of it; also in a plan."""
    decoded = unquote(password)
    basic = base64.b64encode(f"u:{decoded}".encode()).decode()
    job = a_job(datumTries=1)
    job["transform"]["cmd"] = ["sh", "-c", f"echo {password} '{decoded}' {basic}; echo $URL"]
    job["transform"]["env"] = {"URL": url.format(password)}
    path = site.job(job)
    done = site.worker("run", "--job", path, "--log-format", "console")
    plans = [site.worker("plan", path, *more).out for more in ((), ("--json",))]

    assert 0 == done.status, done.err
    for text in (done.err, *plans):
        assert "***" in text
        assert [] == [each for each in (password, decoded, basic[4:-4]) if each in text]


@pytest.mark.parametrize(
    "text", ["http://host:8080/a@b", "https://registry:443/@scope/x", "http://h/a:b@c", "a:b@c"]
)
def test_what_is_no_password_of_a_url_is_not_replaced(site, text):
    job = a_job(f"echo '{text}'", datumTries=1)
    job["transform"]["env"] = {"URL": text}

    assert f"│ {text}" in site.worker("run", "--job", site.job(job), "--log-format", "console").err
