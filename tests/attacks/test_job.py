"""Attacks on a job: killed gateway processes, a full disk, keys that are paths."""

import contextlib
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import psutil
import pytest
from attacks.running_gateway import serving
from attacks.wire import Wire, head, request, send_request
from builders import a_commit, a_job
from scenarios.sites import Site, files_of


@pytest.fixture
def site(tmp_path):
    """A site with an input commit."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a.txt": b"alpha"})
    return site


def serving_processes(pid: int) -> list[psutil.Process]:
    """Return the gateway's child processes below *pid*."""
    below = psutil.Process(pid).children(recursive=True)
    return [each for each in below if "forkserver" in " ".join(each.parent().cmdline())]


@pytest.mark.timeout(120)
def test_killing_a_gateway_process_during_a_request_ends_the_job(site):
    """Exit status 69, no commit; running it again succeeds."""
    pipe = site.root / "endpoint"
    os.mkfifo(pipe)
    document = a_job(f'echo "$S3_ENDPOINT" > {pipe}', "sleep 600", datumTries=1)
    job = site.job(document)
    worker = site.start("run", "--job", job)
    endpoint = urllib.parse.urlsplit(pipe.read_text().strip())
    with Wire(endpoint.port) as wire:
        wire.send(request("PUT", "/out/done", {}, b"was acknowledged"))
        assert 200 == wire.reply("PUT").status
        wire.send(head("PUT", "/out/half", {"content-length": "10000000"}) + bytes(5_000_000))
        for each in serving_processes(worker.pid):
            # The parent kills the others when one has died.
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        _, errors = worker.communicate(timeout=60)

    assert 69 == worker.returncode, errors
    assert "SIGKILL" in errors
    store = site.open()
    assert ["labresults"] == [each.name for each in store.repos()]
    assert [] == site.left_over()
    assert [] == [each.name for each in store.backend.list_from("blobs/") if "job" in each.name]
    document["transform"]["stdin"] = ["true"]
    assert 0 == site.worker("run", "--job", site.job(document)).status


CLIMBING = ["..", "../evil", "a/../../evil", "a/./../../b/evil"]
TRAVERSING = [
    "a/../evil",
    "a/b/../../evil",
    "/evil",
    "//evil",
    "a//evil",
    ".",
    "./evil",
    "evil/..",
]


@pytest.mark.timeout(120)
def test_no_key_is_a_path_outside_the_folder(site):
    """Such keys are rejected, or stored as objects and reported when files are written."""
    keys = [*TRAVERSING, "fine/file.txt"]
    program = [
        "import http.client, os, urllib.parse",
        "place = urllib.parse.urlsplit(os.environ['S3_ENDPOINT'])",
        f"for key in {[*keys, *CLIMBING]!r}:",
        "    gateway = http.client.HTTPConnection(place.hostname, place.port)",
        "    gateway.request('PUT', '/out/' + key, b'x')",
        f"    assert gateway.getresponse().status == (400 if key in {CLIMBING!r} else 200)",
    ]
    document = a_job()
    document["transform"] = {"cmd": [sys.executable, "-"], "stdin": program}
    ran = site.worker("run", "--job", site.job(document))
    assert 0 == ran.status, ran.err
    store = site.open()
    assert sorted(keys) == [each.key for each in store.tree(store.resolve("copy")).entries()]
    target = site.root / "deep" / "target"
    before = set(files_of(site.root))

    got = site.worker("get", "copy", target)

    assert 0 != got.status
    assert {"fine/file.txt": b"x"} == files_of(target)
    outside = set(files_of(site.root)) - before - {"deep/target/fine/file.txt"}
    assert {"evil"} & {Path(each).name for each in outside} == set()
    for key in TRAVERSING:
        assert key in got.err


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 24 MiB; skip where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root can mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(file: int) -> None:
    """Write until the disk is full."""
    while True:
        os.write(file, bytes(4096))


def test_a_full_disk_rejects_requests_until_there_is_space(small_disk, tmp_path):
    store = small_disk / "store"
    with serving(tmp_path / "gateway", store=store, store_url=store) as gateway:
        assert 200 == send_request(gateway.port, "PUT", "/out/old", {}, b"old").status

        refused = send_request(gateway.port, "PUT", "/out/large", {}, bytes(40_000_000))
        assert (503, "ServiceUnavailable") == (refused.status, refused.code)
        filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        os.close(filler)
        assert {503} == {
            send_request(gateway.port, "PUT", f"/out/{key}", {}, bytes(5000)).status
            for key in ("old", "new")
        }
        assert b"old" == send_request(gateway.port, "GET", "/out/old").body
        assert ["old"] == send_request(gateway.port, "GET", "/out").fields("Key")

        (small_disk / "filler").unlink()
        assert 200 == send_request(gateway.port, "PUT", "/out/large", {}, bytes(5_000_000)).status
        assert bytes(5_000_000) == send_request(gateway.port, "GET", "/out/large").body
