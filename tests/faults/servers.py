"""S3 servers for tests: moto, and MinIO or versitygw where they are installed.

A program is looked up in the folder ``WORKER_TEST_S3_SERVERS``, then on ``PATH``. Servers listen on
loopback only, with a fixed pair of keys.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
import boto3

BUCKET = "stores"
ACCESS_KEY = "testkey"
SECRET_KEY = "testsecret"
REGION = "us-east-1"
NAMES = ("moto", "minio", "versitygw")
START_TIMEOUT = 60.0
MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
sys.stdin.read()
server.stop()
"""


class NotInstalled(Exception):
    """The program of the server is not installed."""


@attrs.frozen
class Server:
    """A running server with an empty bucket."""

    name: str
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def endpoint(self) -> str:
        """The URL."""
        return f"http://127.0.0.1:{self.port}"


def options(endpoint: str) -> dict[str, str]:
    """Return the options of ``open_store`` for a store at *endpoint*, with a timeout of 2 s."""
    return {
        "endpoint": endpoint,
        "region": REGION,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "allow_http": "true",
        "timeout": "2s",
    }


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables with which a ``worker`` process accesses a store at *endpoint*."""
    chosen = {"endpoint": endpoint, "region": REGION, "allow_http": "true", "timeout": "2s"}
    return {
        "WORKER_STORE_OPTIONS": ",".join(f"{name}={value}" for name, value in chosen.items()),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }


def program(name: str) -> str:
    """Return the path of a server's program, or raise NotInstalled."""
    folder = os.environ.get("WORKER_TEST_S3_SERVERS")
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PATH")]))
    found = shutil.which(name, path=path)
    if found is None:
        raise NotInstalled(f"{name} is neither in WORKER_TEST_S3_SERVERS nor on PATH")
    return found


@contextlib.contextmanager
def serving(name: str) -> Iterator[Server]:
    """Run the server *name* with an empty bucket for the duration of the block."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{name}-")))
        port = _free_port()
        process = stack.enter_context(
            subprocess.Popen(
                _command(name, folder, port),
                cwd=folder,
                env={**os.environ, **_environment(name)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        stack.callback(process.kill)
        server = Server(name, port)
        _wait_until_ready(server, process)
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_bucket(Bucket=BUCKET)
        yield server


def _command(name: str, folder: Path, port: int) -> list[str]:
    if name == "moto":
        return [sys.executable, "-c", MOTO, str(port)]
    data = folder / "data"
    data.mkdir()
    if name == "minio":
        return [program(name), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(data)]
    # Metadata in files, since not every file system has extended attributes.
    sidecar = folder / "sidecar"
    sidecar.mkdir()
    return [
        *(program(name), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION),
        *("--port", f"127.0.0.1:{port}", "--quiet", "posix", "--sidecar", str(sidecar), str(data)),
    ]


def _environment(name: str) -> dict[str, str]:
    if name == "minio":
        return {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    return {}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        assert isinstance(port, int)
        return port


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotInstalled(f"{server.name} exited with {process.returncode} at its start")
        try:
            urllib.request.urlopen(server.endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NotInstalled(f"{server.name} did not respond within {START_TIMEOUT:.0f} s")
