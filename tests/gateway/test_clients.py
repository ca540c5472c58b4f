"""Real clients of a gateway in its own processes: the AWS CLI over http, boto3 over https."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
from gateways import FILES, a_plan, open_gateway
from trio.to_thread import run_sync as in_thread

MIB = 1 << 20


def aws(url: str, *arguments: str, folder: Path, stdin: bytes = b"") -> bytes:
    """Run ``aws s3`` with *arguments* against *url* and return its standard output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "default",
        "AWS_SECRET_ACCESS_KEY": "default",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    command = [sys.executable, "-m", "awscli", "--endpoint-url", url, "s3", *arguments]
    completed = subprocess.run(
        command, env=environment, cwd=folder, input=stdin, capture_output=True, check=False
    )
    assert 0 == completed.returncode, completed.stderr.decode()
    return completed.stdout


async def test_the_aws_cli_copies_in_both_directions(tmp_path):
    """``cp``, ``sync``, ``mv`` and ``rm``, of folders, in parts, and through pipes."""
    folder = tmp_path / "home"
    folder.mkdir()
    large = os.urandom(17 * MIB)
    (folder / "large").write_bytes(large)

    def use(url: str) -> None:
        def run(*arguments: str, stdin: bytes = b"") -> bytes:
            return aws(url, *arguments, folder=folder, stdin=stdin)

        assert [b"labresults", b"out"] == [line.split()[-1] for line in run("ls").splitlines()]
        run("cp", "s3://labresults", "in", "--recursive", "--quiet")
        run("cp", "in", "s3://out", "--recursive", "--quiet")
        assert b"" == run("sync", "in", "s3://out")
        run("cp", "large", "s3://out/large", "--quiet")
        run("mv", "s3://out/large", "s3://out/moved", "--quiet")
        assert large == run("cp", "s3://out/moved", "-")
        run("cp", "-", "s3://out/piped", stdin=b"piped")
        run("rm", "s3://out/nested", "--recursive", "--quiet")
        listed = run("ls", "s3://out", "--recursive").decode().splitlines()
        assert ["a.txt", "moved", "piped", "two words.txt"] == [line[31:] for line in listed]

    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path, processes=2))
        await in_thread(use, endpoint.url)

    assert FILES == {
        path.relative_to(folder / "in").as_posix(): path.read_bytes()
        for path in (folder / "in").rglob("*")
        if path.is_file()
    }


async def test_boto3_puts_and_gets_over_https(tmp_path, certificate):
    """Over https, boto3 sends aws-chunked bodies with a checksum in the trailer."""
    data = os.urandom(3 * MIB)

    def use(url: str) -> bytes:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="default",
            aws_secret_access_key="default",
            verify=str(certificate.certfile),
        )
        client.put_object(Bucket="out", Key="k", Body=data)
        return client.get_object(Bucket="out", Key="k")["Body"].read()

    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path, certificate=certificate))

        assert endpoint.url.startswith("https://127.0.0.1:")
        assert data == await in_thread(use, endpoint.url)
        await pool.drain(5)
