"""Credentials of the store: what other programs and users of the machine can read of them."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_commit, a_job
from obstore import store as obstore_store
from scenarios.sites import Site

from worker.config_sources import load_config
from worker.store.backends.options import credentials_of

SECRET = "s3cr3t-value-9"


@pytest.fixture
def site(tmp_path):
    """A site with an input commit."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    return site


# --- the command line -----------------------------------------------------------------------------

EXPOSED = [
    "aws_secret_access_key",
    "AWS_SECRET_ACCESS_KEY",
    "secret_access_key",
    "session_token",
    "token",
    "sse_customer_key_base64",
    "google_service_account_key",
    "bearer_token",
    "azure_storage_account_key",
    "account_key",
    "access_key",
    "master_key",
    "client_secret",
    "sas_key",
    "sas_token",
    "encryption_key",
    "fabric_session_token",
    "default_headers",
]


@pytest.mark.parametrize("command", ["run", "plan", "put", "ls", "gc"])
@pytest.mark.parametrize("name", ["aws_secret_access_key", "sas_key"])
def test_a_credential_on_the_command_line_is_rejected_and_not_repeated(site, command, name):
    """Exit status 64; nothing is run, so that a script with such a line is noticed at once."""
    job = site.job(a_job("true"))
    words = {
        "run": ["--job", job],
        "plan": ["--job", job],
        "put": [site.scratch, "x"],
        "ls": ["labresults"],
        "gc": [],
    }
    done = site.worker(command, *words[command], "--store-option", f"{name}={SECRET}")

    assert (64, "") == (done.status, done.out)
    assert f"{name} may be a credential" in done.err
    assert "AWS_SECRET_ACCESS_KEY" in done.err
    assert SECRET not in done.err


@pytest.mark.parametrize("name", EXPOSED)
def test_each_credential_of_the_services_is_known_as_one(name):
    assert [(name, SECRET)] == list(credentials_of({name: SECRET}))


@pytest.mark.parametrize(
    "value",
    [f"http://user:{SECRET}@host", f"user:{SECRET}@host", f"http://{SECRET}@host/"],
)
@pytest.mark.parametrize("name", ["endpoint", "proxy_url", "aws_sts_endpoint"])
def test_a_password_in_the_url_of_an_option_is_a_credential(name, value):
    assert SECRET in {secret.rpartition(":")[2] for _, secret in credentials_of({name: value})}


def test_each_option_of_the_library_is_public_or_named_here_as_a_credential():
    """A new version with another option fails this test."""
    stubs = Path(obstore_store.__file__).parent / "_store"
    kinds = ("S3Config", "GCSConfig", "AzureConfig", "ClientConfig")
    found = set()
    for stub in stubs.glob("*.pyi"):
        name = None
        for line in stub.read_text().splitlines():
            if line.startswith("class "):
                name = line.split()[1].partition("(")[0].rstrip(":")
            elif name in kinds and line.startswith("    ") and line[4:5].isalpha():
                found.add(line.strip().partition(":")[0])
    found = {each for each in found if each.isidentifier() and each.islower()}

    not_offered = {"randomize_addresses", "read_timeout", "root_certificate"}
    exposed = {name for name, _ in credentials_of(dict.fromkeys(found, "x"))}

    assert {"secret_access_key", "account_key", "service_account_key", "proxy_url"} <= found
    assert exposed - not_offered <= {*EXPOSED, "service_account_key"}
    assert {"region", "aws_endpoint_url_s3", "account_name", "service_account"} <= found - exposed


def test_public_options_remain_flags(site):
    options = ("--store-option=region=eu-1", "--store-option=endpoint=http://127.0.0.1:1")

    assert 0 == site.worker("ls", "labresults", *options).status


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIA:{SECRET}@bucket/prefix",
        f"s3:AKIA:{SECRET}@bucket",
        f"S3:///{SECRET}@bucket",
        f"s3://bucket/prefix?X-Amz-Signature={SECRET}",
        f"az://container/prefix?sig={SECRET}",
        f"gs://bucket#{SECRET}",
        f"https://user:{SECRET}@host/bucket",
        f"https://host/container?sig={SECRET}",
    ],
)
@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_a_credential_in_the_address_of_the_store_is_rejected_and_not_repeated(site, url, source):
    """The address of the store is printed, logged and recorded."""
    words, more = [], {"WORKER_STORE": url}
    if source == "flag":
        words, more = ["--store", url], {}
    if source == "file":
        (site.root / "w.toml").write_text(f'store = "{url}"\n')
        words, more = ["--config", site.root / "w.toml"], {}
    done = site.worker("ls", "x", *words, **more)

    assert 78 == done.status
    assert "without user, password and query" in done.err
    assert SECRET not in done.err + done.out


@pytest.mark.parametrize(
    "address", ["s3://bucket/pre@fix", "s3://b/a:b", "./x@y", "a:b@c", "/a?b#c"]
)
def test_other_addresses_are_kept(address, tmp_path):
    found = load_config({"store": address}, {}, folder=tmp_path).store

    assert found in (address, str(tmp_path / address))


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b", {"endpoint": f"user:{SECRET}@host"}),
        ("s3://b", {"endpoint": f"ftp://user:{SECRET}@host"}),
        ("gs://b", {"service_account_key": SECRET}),
        ("az://c", {"account_name": "x", "account_key": f"{SECRET}!"}),
        ("az://c", {"account_name": "x", "sas_key": SECRET}),
    ],
)
def test_an_error_of_the_client_has_no_credential(site, url, options):
    """The reason is shown, with the credential as ``***``."""
    text = ",".join(f"{name}={value}" for name, value in options.items())
    done = site.worker("ls", "x", "--store", url, WORKER_STORE_OPTIONS=text)

    assert 78 == done.status, done.err
    assert url in done.err
    assert SECRET not in done.err + done.out


def test_the_plan_and_its_json_name_no_credential(site):
    """Neither of the options nor of the variables of the service."""
    more = {
        "WORKER_STORE_OPTIONS": f"secret_access_key={SECRET}",
        "AWS_SESSION_TOKEN": f"{SECRET}-token",
    }
    job = site.job(a_job("true"))
    for words in ((), ("--json",)):
        done = site.worker("plan", "--job", job, *words, **more)

        assert 0 == done.status, done.err
        assert "labresults" in done.out
        assert SECRET not in done.out + done.err


# --- other processes ------------------------------------------------------------------------------

READ = """
import sys
for name in ("environ", "mem", "maps"):
    try:
        open(f"/proc/{sys.argv[1]}/{name}", "rb").read(1)
    except PermissionError:
        continue
    except OSError:
        pass
    print(name)
"""
PR_CAPBSET_DROP = 24
CAPABILITIES = {"SYS_PTRACE": 19, "SYS_ADMIN": 21, "PERFMON": 38}
"""Each permits to read the memory of other processes."""


def run_unprivileged() -> None:
    """Give up the right to read other processes, which root has; the user stays the same."""
    for number in CAPABILITIES.values():
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("command", ["run", "plan", "shell", "validate"])
def test_another_program_of_the_same_user_reads_nothing_of_a_worker(site, command):
    """Before it has read the document, and whatever the command: each may have credentials."""
    pipe = site.root / "job"
    os.mkfifo(pipe)
    words = [pipe] if command == "validate" else ["--job", pipe]
    site.more["AWS_SECRET_ACCESS_KEY"] = SECRET
    worker = site.start(command, *words, preexec_fn=run_unprivileged)
    # It has opened the document, and waits for its text.
    with open(pipe, "w") as document:
        read = subprocess.run(
            [sys.executable, "-c", READ, str(worker.pid)],
            preexec_fn=run_unprivileged,
            capture_output=True,
            text=True,
            check=True,
        )
        document.write("{}")
    worker.communicate(timeout=60)

    assert "" == read.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_command_reads_nothing_of_the_processes_of_its_worker(site):
    """Neither of the agent nor of the gateway; the shim of the command has no environment."""
    site.more["AWS_SECRET_ACCESS_KEY"] = SECRET
    program = [
        "import os",
        "for pid in filter(str.isdigit, os.listdir('/proc')):",
        "    try: found = open(f'/proc/{pid}/environ', 'rb').read()",
        "    except OSError: continue",
        f"    secret = {SECRET[::-1]!r}[::-1].encode()",
        "    assert secret not in found, open(f'/proc/{pid}/cmdline').read()",
    ]
    document = a_job()
    document["transform"] = {"cmd": [sys.executable, "-"], "stdin": program}
    worker = site.start("run", "--job", site.job(document), preexec_fn=run_unprivileged)
    _, errors = worker.communicate(timeout=60)

    assert 0 == worker.returncode, errors
