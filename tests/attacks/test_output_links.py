"""Attacks on the output folder by other processes of the command's user, while it is read."""

import os
import subprocess
import sys
from functools import partial
from hashlib import md5

import pytest

from worker.directories import open_directory
from worker.job.output_files import OutputFiles
from worker.job.pfs import Inputs, NotAnOutput, collect
from worker.model import BranchName, Repo
from worker.store.blobs import BlobReader, Stage
from worker.store.checkin import put_directory
from worker.store.ingest import EMPTY_MD5, Ingester, NotAFile, Problem
from worker.store.opening import open_store
from worker.store.source import SourceInvalid, walk
from worker.supervisor.file_reader import FileReader
from worker.supervisor.users import Identity

USER = Identity(4001, 4001, (4001,))
ROUNDS = 1000
SWAP = """
import os, sys
out, secret, more = sys.argv[1:]
def link(target, name):
    os.symlink(target, "new")
    os.rename("new", name)
def file(name):
    with open("new", "w") as new:
        new.write("own")
    os.rename("new", name)
os.chdir(out)
os.mkdir("plain")
file("plain/file")
file("x")
print(1, flush=True)
while True:
    link(secret, "x")
    file("x")
    link("x", "y")
    link(more, "y")
    link("/proc/self/environ", "z")
    os.rename("z", "y")
    os.rename("plain", "folder")
    os.rename("folder", "plain")
    os.symlink(os.path.dirname(secret), "folder")
    os.unlink("folder")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.timeout(120)
def test_a_worker_of_root_never_reads_what_the_commands_user_may_not_read(public_path):
    """Files, links and folders are swapped all the time, between the check and the read."""
    store = open_store(public_path / "store")
    root, spool, closed = (public_path / name for name in ("pfs", "spool", "closed"))
    for folder in (root, root / "out", spool, closed):
        folder.mkdir()
    os.chown(root / "out", USER.uid, USER.gid)
    closed.chmod(0o700)
    (closed / "file").write_bytes(b"of root")
    (public_path / "more").write_bytes(b"more")
    arguments = [root / "out", closed / "file", public_path / "more"]
    # Not the Python of the tests, which the user may be unable to reach.
    swapping = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.setgid(4001); os.setuid(4001)\n{SWAP}", *arguments],
        stdout=subprocess.PIPE,
    )
    etags, refused = set(), set()
    stage = Stage(store.backend, "s", writer="w", scratch=spool)
    blobs = BlobReader(store.backend, spool)
    out = (root / "out").resolve()
    try:
        with FileReader(open_directory(out), USER) as reader, Ingester(stage, blobs) as ingester:
            files = OutputFiles(str(out), ingester, reader, lambda: None)
            assert swapping.stdout is not None
            assert swapping.stdout.readline()
            for _ in range(ROUNDS):
                for found in walk(open_directory(out)):
                    if isinstance(found, Problem) or found.key.endswith("/"):
                        continue
                    try:
                        if found.is_link:
                            entry = files.add_linked(found, found.path, found.path)
                        else:
                            entry = files.add(found)
                    except NotAFile as error:
                        refused.add(error.problem.reason.rpartition(": ")[2])
                        continue
                    etags.add(entry.etag)
        assert swapping.poll() is None
    finally:
        swapping.kill()
        swapping.communicate()

    assert {md5(text).hexdigest() for text in (b"", b"own", b"more")} == etags | {EMPTY_MD5}
    assert refused


@pytest.mark.parametrize("operation", ["put", "collect"])
def test_a_chain_of_links_is_no_file(tmp_path, operation):
    """The kernel follows 40 links; each of n links that leads to the next would take n steps."""
    store = open_store(tmp_path / "store")
    out = tmp_path / "pfs" / "out"
    out.mkdir(parents=True)
    (out / "0000").write_text("content")
    for number in range(1, 2000):
        (out / f"{number:04}").symlink_to(f"{number - 1:04}")
    # The end of the chain is the first file.
    (out / "0").symlink_to("1999")
    inputs = Inputs(store, open_directory(out.parent), {}, {})
    stage = Stage(store.backend, "s", writer="w", scratch=tmp_path)

    def run() -> None:
        if operation == "put":
            put_directory(store, BranchName(Repo("default", "put"), "master"), out)
        else:
            reader_of = partial(FileReader, identity=None)
            list(collect(inputs, stage, spool=tmp_path / "none", reader_of=reader_of))

    with pytest.raises((SourceInvalid, NotAnOutput), match="link"):
        run()
