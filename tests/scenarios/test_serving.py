"""``worker shell`` and ``worker gateway``."""

import json
import signal
import subprocess
import sys

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from builders import a_commit, a_job

WRITE = "echo x | aws s3 cp - s3://out/x"


@pytest.fixture
def job(site):
    """A job with one input commit."""
    a_commit(site.open(), {"a.txt": b"1", "below/b.txt": b"22"})
    return site.job(a_job("true"))


def branches(site):
    return [str(branch) for repo in site.open().repos() for branch in site.open().branches(repo)]


def test_the_output_of_a_shell_is_discarded_by_default(site, job):
    done = site.worker(
        "shell",
        "--job",
        job,
        "--",
        "sh",
        "-c",
        "aws s3 ls s3://labresults/ && echo x | aws s3 cp - s3://out/x",
    )

    assert 0 == done.status, done.err
    assert "a.txt" in done.out
    assert ["labresults@master"] == branches(site)
    assert [] == site.left_over()


def test_a_shell_with_commit_commits_its_output(site, job):
    done = site.worker("shell", "--job", job, "--commit", "--", "sh", "-c", WRITE)

    assert 0 == done.status, done.err
    assert b"x\n" == site.worker("cat", "copy:x").out.encode()
    assert done.out.endswith(f"{site.open().resolve('copy').name}\n")


def test_a_shell_that_fails_commits_nothing(site, job):
    """Even with --commit."""
    site.worker(
        "shell",
        "--job",
        job,
        "--commit",
        "--",
        "sh",
        "-c",
        "echo x | aws s3 cp - s3://out/x; exit 1",
    )

    assert ["labresults@master"] == branches(site)


@pytest.fixture
def served(site, job):
    """A running `worker gateway`, and the variables that it printed."""
    process = site.start("gateway", "--job", job, "--json")
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def client(variables):
    return boto3.client(
        "s3",
        endpoint_url=variables["S3_ENDPOINT"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}),
    )


def test_a_gateway_serves_until_ctrl_c(site, served):
    """Inputs are readable, the output is writable, and the exit status is 0."""
    process, variables = served
    s3 = client(variables)

    assert ["labresults", "out"] == [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert b"22" == s3.get_object(Bucket="labresults", Key="below/b.txt")["Body"].read()
    s3.put_object(Bucket="out", Key="x", Body=b"333", Metadata={"by": "me"})
    found = s3.get_object(Bucket="out", Key="x")
    assert (b"333", {"by": "me"}) == (found["Body"].read(), found["Metadata"])

    process.send_signal(signal.SIGINT)
    assert 0 == process.wait(timeout=60)
    assert [] == site.left_over()
    assert ["labresults@master"] == branches(site)


def test_an_input_of_a_gateway_is_read_only(served):
    """AccessDenied names s3://out."""
    s3 = client(served[1])

    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="labresults", Key="x", Body=b"1")

    error = raised.value.response
    assert (403, "AccessDenied") == (
        error["ResponseMetadata"]["HTTPStatusCode"],
        error["Error"]["Code"],
    )
    assert "s3://out" in error["Error"]["Message"]


def test_the_variables_of_a_gateway_can_be_sourced(site, job):
    """Each is an export, quoted for a shell."""
    process = site.start("gateway", "--job", job)
    lines = [process.stdout.readline()]
    while "S3_ENDPOINT=" not in "".join(lines):
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert all(line.startswith("export ") for line in lines)
    assert 0 == process.returncode


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.usefixtures("job")
def test_sourcing_the_variables_of_a_hostile_document_runs_no_command(site, shell):
    """The shell has the exact values, but for those of variables that it runs itself."""
    canary = site.root / "canary"
    attack = f"$(touch {canary})`touch {canary}`'; touch {canary}\n touch {canary}; '\x1b[2J\n"
    environment = {"A": attack, "B": "plain", "PROMPT_COMMAND": attack, "BASH_ENV": attack}
    job = site.job(
        {
            "pipeline": {"name": "copy"},
            "input": {"pfs": {"repo": "labresults", "glob": "/"}},
            "transform": {"cmd": ["true"], "env": {**environment, "PS1": attack}},
        }
    )
    process = site.start("gateway", "--job", job)
    lines = [process.stdout.readline()]
    while "export B=" not in lines[-1]:
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    shown = 'printf "%s|" "$A"; printf %s "${PROMPT_COMMAND-}${BASH_ENV-}${PS1-}"'
    script = "".join(lines) + shown
    done = subprocess.run(
        [shell, "-ec", script], capture_output=True, text=True, check=True, env={}
    )

    assert all(line.startswith("export ") for line in lines)
    value, _, of_shell = done.stdout.partition("|")
    assert attack == value
    assert "canary" not in of_shell
    assert not canary.exists()


FLOOD = """
import os, socket, sys
from urllib.parse import urlsplit
endpoint, method, size = urlsplit(os.environ["S3_ENDPOINT"]), sys.argv[1], int(sys.argv[2])
clients = [socket.create_connection((endpoint.hostname, endpoint.port)) for _ in range(60)]
for number, client in enumerate(clients):
    head = f"{method} /out/{number} HTTP/1.1\\r\\nhost: localhost\\r\\n"
    client.sendall(f"{head}content-length: {size}\\r\\n\\r\\n".encode() + bytes(size // 2))
for client in clients:
    client.sendall(bytes(size // 2))
print(*{client.recv(12) for client in clients})
"""


@pytest.mark.parametrize(
    ("method", "size", "answer"), [("HEAD", 0, "404"), ("PUT", 1 << 20, "200")]
)
def test_more_requests_than_open_files_are_served_without_raw_text_in_the_log(
    site, method, size, answer
):
    """Each line of the log is JSON, and one warning reports the bound.

    A write holds a file of the store beside its connection.
    """
    a_commit(site.open(), {"a.txt": b"1"})
    command = [sys.executable, "-c", FLOOD, method, str(size)]
    job = site.job(a_job(transform={"cmd": command}))
    run = site.command("run", "--job", job, "--gateway-processes", "1")

    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh", *run],
        capture_output=True,
        text=True,
        check=False,
        cwd=site.root,
        env=site.environment,
        timeout=240,
    )

    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert 0 == done.returncode, done.stderr
    output = [each["line"] for each in events if each["event"] == "command.output"]
    assert [f"b'HTTP/1.1 {answer}'"] == output
    # The job whose clients only read has no output, which is a warning of the run.
    assert [("gateway.connections_full", "warning")] == [
        (each["event"], each["level"])
        for each in events
        if each["level"] != "info" and each["event"] != "run.warning"
    ]


@pytest.mark.parametrize("auth", ["none", "sigv4"])
@pytest.mark.parametrize("name", ["Lab_Results", "input_repo", "X"])
def test_every_name_of_pachyderm_is_a_bucket(site, name, auth):
    """It is served in the path style, with a warning at the key that holds the name."""
    a_commit(site.open(), {"a.txt": b"1"}, repo=name)
    document = {
        **a_job(
            f"aws s3 ls s3://{name}/",
            f"aws s3 cp s3://{name}/a.txt s3://out/b.txt --only-show-errors",
            f'test "${name}" = "$PFS_ROOT/{name}"',
        ),
        "input": {"pfs": {"repo": name, "glob": "/", "s3": True, "name": "", "branch": ""}},
        "datumTries": 0,
    }

    done = site.worker("run", "--job", site.job(document), "--auth", auth, "--result", "r.json")

    assert 0 == done.status, done.err
    assert "1" == site.worker("cat", "copy:b.txt").out
    (warning,) = json.loads((site.root / "r.json").read_text())["warnings"]
    assert warning.startswith(f'/input/pfs/repo: "{name}" is not the name of a bucket')
