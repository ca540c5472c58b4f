"""The files of a datum below ``/pfs``."""

import os
import socket
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from builders import a_commit

from worker.directories import Directory, open_directory
from worker.job import pfs
from worker.job.pfs import Inputs, NotAnOutput, collect, fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.model import Entry
from worker.spec.pipeline import PfsInput
from worker.store.blobs import BlobReader, Stage
from worker.store.checkout import KeyNotAFile
from worker.store.ingest import SMALL
from worker.supervisor.file_reader import FileReader
from worker.supervisor.users import Identity

FILES = {"a.txt": b"1", "dir/b": b"22", "dir/sub/c": b"", "Ünï cøde": b"4", "empty/": b""}


def selections(store, **changes):
    fields = {"glob": "/", "s3": False, "empty_files": False, **changes}
    spec = PfsInput("in", "default", "labresults", "master", None, **fields)
    return choices(store, resolve(store, spec))


def materialized(store, folder: Path, **changes) -> Path:
    """Materialize the first datum and return the folder of its input."""
    materialize(store, selections(store, **changes)[0], open_directory(folder), spool=folder)
    return folder / "in"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_materialize_writes_the_files_of_the_commit_below_the_input(store, tmp_path):
    """Folders are made for keys with slashes and for empty keys that end in a slash."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)

    assert {k: v for k, v in FILES.items() if k != "empty/"} == files_below(folder)
    assert (folder / "empty").is_dir()


def test_materialize_counts_files_and_not_folders(store, tmp_path):
    a_commit(store, FILES)

    assert 4 == materialize(store, selections(store)[0], open_directory(tmp_path), spool=tmp_path)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [("/*.txt", {"a.txt": b"1"}), ("/d*", {"dir/b": b"22", "dir/sub/c": b""})],
    ids=["file", "folder"],
)
def test_materialize_writes_only_what_the_datum_selects(store, tmp_path, glob, expected):
    a_commit(store, FILES)

    assert expected == files_below(materialized(store, tmp_path, glob=glob))


def test_materialize_writes_a_selected_file_beside_a_folder_of_its_name(store, tmp_path):
    """With the glob ``/*`` the file and the folder are two datums."""
    a_commit(store, {"a": b"1", "a/b": b"2"})

    assert {"a": b"1"} == files_below(materialized(store, tmp_path, glob="/*"))


def test_materialize_makes_files_and_folders_read_only(store, tmp_path):
    """Only root can change an input by mistake, whatever the umask is."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)

    assert {0o444} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
    assert {0o555} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_dir()}


def test_materialize_gives_files_the_time_of_their_entries(store, tmp_path):
    a_commit(store, FILES)

    assert 0 == (materialized(store, tmp_path) / "dir/b").stat().st_mtime_ns


def test_materialize_writes_no_content_with_empty_files(store, tmp_path):
    a_commit(store, {"a": b"123"})

    assert {"a": b""} == files_below(materialized(store, tmp_path, empty_files=True))


def test_materialize_makes_an_empty_folder_for_an_s3_input(store, tmp_path):
    a_commit(store, FILES)

    assert [] == os.listdir(materialized(store, tmp_path, s3=True))


def test_materialize_reads_and_writes_what_the_kernel_does_not_copy(store, tmp_path, monkeypatch):
    """This is so on some file systems, and for an object store."""
    a_commit(store, FILES)
    monkeypatch.setattr(pfs, "_copy_in_kernel", lambda *_: 0)

    assert b"22" == (materialized(store, tmp_path) / "dir/b").read_bytes()


def test_materialize_completes_a_partial_copy_of_the_kernel(store, tmp_path, monkeypatch):
    a_commit(store, {"a": b"123456789"})
    monkeypatch.setattr(
        pfs, "_copy_in_kernel", lambda _source, _extent, fd, _at: os.write(fd, b"123")
    )

    assert b"123456789" == (materialized(store, tmp_path) / "a").read_bytes()


@pytest.mark.parametrize(
    "files",
    [
        {"../up": b"1"},
        {"a//b": b"1"},
        {"a": b"1", "a/b": b"2"},
        {"a": b"1", "a-": b"", "a/b": b"2"},
        {"a/": b"1"},
    ],
    ids=["up", "empty part", "file and folder", "file and folder apart", "folder with content"],
)
def test_materialize_rejects_keys_that_cannot_be_files(store, tmp_path, files):
    a_commit(store, files)

    with pytest.raises(KeyNotAFile):
        materialized(store, tmp_path)
    assert not (tmp_path / "up").exists()


def test_materialize_can_be_stopped_before_each_file(store, tmp_path):
    a_commit(store, FILES)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(
            store, selections(store)[0], open_directory(tmp_path), spool=tmp_path, check=stop
        )


def rewrite(path: Path) -> None:
    """Change a byte, and restore the size, the mode and the times."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"3")
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rewrite(folder / "a.txt"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "dir" / "new").touch(),
        lambda folder: (folder / "dir" / "b").rename(folder / "dir" / "bb"),
        lambda folder: (folder / "dir" / "sub").chmod(0o777),
        lambda folder: folder.rename(folder.with_name("old")) and folder.mkdir(),
        lambda folder: folder.rename(folder.with_name("old")),
        lambda folder: folder.rename(folder.with_name("old")) and folder.touch(),
    ],
    ids=["content", "removed", "added", "renamed", "mode", "replaced", "gone", "now a file"],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change read-only folders")
def test_fingerprint_changes_with_any_change(store, tmp_path, change):
    """So a command that changes its inputs does not change those of the next datum."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)
    before = fingerprint(open_directory(folder.parent), folder.name)
    assert b"1" == (folder / "a.txt").read_bytes()
    assert before == fingerprint(open_directory(folder.parent), folder.name)
    while os.stat(tmp_path).st_ctime_ns <= os.stat(folder / "a.txt").st_ctime_ns:
        tmp_path.touch()  # the clock of a file system may be coarse
    change(folder)

    assert before != fingerprint(open_directory(folder.parent), folder.name)


@pytest.fixture
def inputs(store, public_path) -> Inputs:
    """A materialized input beside an empty ``out``."""
    a_commit(store, {"a": b"1", "dir/b": b"2", "other/c": b"3"})
    spec = PfsInput("in", "default", "labresults", "master", None, glob="/", s3=False)
    resolved = resolve(store, spec)
    root = public_path / "pfs"
    (root / "out").mkdir(parents=True)
    materialize(store, choices(store, resolved)[0], open_directory(root), spool=public_path)
    materialized = {"in": (root / "in").stat().st_ctime_ns} if (root / "in").exists() else {}
    return Inputs(store, open_directory(root), {"in": resolved}, materialized)


def root_of(inputs: Inputs) -> Path:
    return Path(inputs.root.path)


def collected(
    inputs: Inputs,
    scratch: Path,
    *,
    identity: Identity | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Entry]:
    """Collect the output of a command that runs as *identity*."""
    spool = scratch / "spool"
    spool.mkdir(exist_ok=True)
    stage = Stage(inputs.store.backend, "s", writer="w", scratch=spool)

    def reader_of(out: Directory) -> FileReader:
        return FileReader(out, identity, check=check)

    found = collect(inputs, stage, spool=spool, check=check, reader_of=reader_of)
    entries = {each.key: each for each in found}
    stage.close()
    return entries


def contents(inputs: Inputs, scratch: Path, **options: Any) -> dict[str, bytes]:
    reader = BlobReader(inputs.store.backend)
    found = collected(inputs, scratch, **options)
    return {key: b"".join(reader.pieces(found[key].extents)) for key in sorted(found)}


def test_collect_returns_an_entry_for_each_file_and_drops_empty_folders(inputs, tmp_path):
    out = root_of(inputs) / "out"
    (out / "sub" / "empty").mkdir(parents=True)
    (out / "sub" / "f").write_bytes(b"x")
    (out / "Ünï").write_bytes(b"")

    assert {"sub/f": b"x", "Ünï": b""} == contents(inputs, tmp_path)


def test_collect_shares_the_bytes_of_links_into_inputs(inputs, tmp_path):
    """A link to a file is a file; a link to a folder is all files below it."""
    root = root_of(inputs)
    (root / "out" / "file").symlink_to(root / "in" / "a")
    (root / "out" / "all").symlink_to(root / "in")
    (root / "out" / "relative").symlink_to("../in/dir/b")
    (tmp_path / "elsewhere").symlink_to(root / "in" / "a")
    (root / "out" / "chain").symlink_to(tmp_path / "elsewhere")
    tree = inputs.store.tree(inputs.by_name["in"].commit)

    assert {
        "file": tree.entry("a").extents,
        "chain": tree.entry("a").extents,
        "relative": tree.entry("dir/b").extents,
        "all/a": tree.entry("a").extents,
        "all/dir/b": tree.entry("dir/b").extents,
        "all/other/c": tree.entry("other/c").extents,
    } == {key: entry.extents for key, entry in collected(inputs, tmp_path).items()}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/nosuch"), "symbolic link to /nosuch: it leads to nothing"),
        (lambda path: path.symlink_to("../in/none"), "it leads to nothing"),
        (lambda path: path.symlink_to("../.."), "it leads to a folder"),
        (lambda path: path.symlink_to("x"), "in a circle"),
        (lambda path: path.symlink_to("/proc/self/environ"), "pseudo file system"),
        (lambda path: path.symlink_to("/dev/zero"), "it leads to a device"),
        (lambda path: path.symlink_to("../../spool/secret"), "symbolic link to a secret"),
        (lambda path: path.symlink_to("../.env"), "symbolic link to a secret"),
        (os.mkfifo, "it is a pipe"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "it is a socket"),
        (lambda path: Path(os.fsdecode(bytes(path) + b"\xff")).touch(), "not UTF-8"),
        (lambda _: os.makedirs("/".join(["d" * 200] * 6)), "longer than 1,024 bytes"),
    ],
    ids=[
        "dangling link",
        "broken link",
        "link up",
        "link to itself",
        "link to proc",
        "link to a device",
        "link to a secret",
        "link to the variables",
        "pipe",
        "socket",
        "not UTF-8",
        "long key",
    ],
)
def test_collect_rejects_what_cannot_be_a_file_of_a_commit(inputs, monkeypatch, make, reason):
    monkeypatch.chdir(root_of(inputs) / "out")
    (root_of(inputs) / ".env").touch()
    spool = root_of(inputs).parent / "spool"
    spool.mkdir()
    (spool / "secret").touch()
    make(Path("x"))

    with pytest.raises(NotAnOutput, match=reason):
        contents(inputs, spool.parent)


def test_collect_rejects_files_that_vanish(inputs, tmp_path):
    path = root_of(inputs) / "out" / "vanishing"
    path.touch()
    stage = Stage(inputs.store.backend, "s", writer="w", scratch=tmp_path)

    with pytest.raises(NotAnOutput, match="vanishing: it vanished"):
        list(collect(inputs, stage, spool=tmp_path, check=path.unlink))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_collect_rejects_files_that_cannot_be_read(inputs, tmp_path):
    (root_of(inputs) / "out" / "closed").touch(mode=0)

    with pytest.raises(NotAnOutput, match="Permission denied"):
        contents(inputs, tmp_path)


@pytest.fixture
def elsewhere(tmp_path_factory) -> Path:
    """A folder of the machine that is no part of the run."""
    return tmp_path_factory.mktemp("elsewhere")


def test_collect_stores_the_content_of_links_to_other_files(inputs, tmp_path, elsewhere):
    """Also of a chain of links, and of a link to a file of the output."""
    out = root_of(inputs) / "out"
    (elsewhere / "file").write_bytes(b"x")
    (elsewhere / "chain").symlink_to("file")
    (elsewhere / "to_input").symlink_to(root_of(inputs) / "in" / "a")
    (out / "own").write_bytes(b"y")
    (out / "absolute").symlink_to(elsewhere / "file")
    (out / "chain").symlink_to(elsewhere / "chain")
    (out / "sub").mkdir()
    (out / "sub" / "relative").symlink_to("../own")
    (out / "input").symlink_to(elsewhere / "to_input")

    assert {
        "absolute": b"x",
        "chain": b"x",
        "input": b"1",
        "own": b"y",
        "sub/relative": b"y",
    } == contents(inputs, tmp_path)


def test_collect_rejects_a_link_to_another_folder(inputs, tmp_path, elsewhere):
    (elsewhere / "file").touch()
    (root_of(inputs) / "out" / "folder").symlink_to(elsewhere)

    with pytest.raises(NotAnOutput, match=r"/pfs/out/folder: .* it leads to a folder"):
        contents(inputs, tmp_path)


def test_collect_without_a_reader_rejects_links_to_other_files(inputs, tmp_path):
    """The path of a link in a container is not one of this machine."""
    out = root_of(inputs) / "out"
    (out / "x").symlink_to("/etc/passwd")
    (out / "a").symlink_to("../in/a")
    stage = Stage(inputs.store.backend, "s", writer="w", scratch=tmp_path)
    entries = collect(inputs, stage, spool=tmp_path / "spool")

    assert "a" == next(entries).key
    with pytest.raises(NotAnOutput, match=r"/pfs/out/x: .* symbolic link .* container"):
        next(entries)


def test_collect_finds_links_by_the_paths_that_the_command_sees(inputs, tmp_path):
    """In a container, and where ``/pfs`` is a mount for the command only."""
    out = root_of(inputs) / "out"
    (out / "own").write_bytes(b"y")
    (out / "to_own").symlink_to("/nosuch-pfs/out/own")
    (out / "to_input").symlink_to("/nosuch-pfs/in/a")
    (out / "chain").symlink_to("/nosuch-pfs/out/to_own")
    shown = attrs.evolve(inputs, places={Path("/nosuch-pfs"): root_of(inputs)})

    assert {"chain": b"y", "own": b"y", "to_input": b"1", "to_own": b"y"} == contents(
        shown, tmp_path
    )


@pytest.mark.parametrize("mounted", [True, False], ids=["a mount", "no mount"])
@pytest.mark.parametrize("target", ["/nosuch-pfs/in/missing", "/nosuch/model", "x"])
def test_an_error_of_a_link_has_the_target_that_the_command_wrote(
    inputs, tmp_path, target, mounted
):
    (root_of(inputs) / "out" / "x").symlink_to(target)
    places = {Path("/nosuch-pfs"): root_of(inputs)} if mounted else {}

    with pytest.raises(NotAnOutput, match=f"/pfs/out/x: it is a symbolic link to {target}: "):
        contents(attrs.evolve(inputs, places=places), tmp_path)


def test_collect_rejects_a_link_to_a_secret_that_is_mounted_for_the_command(inputs):
    """Its literal path does not exist for the worker, which has it in the scratch folder."""
    spool = root_of(inputs).parent / "spool"
    (spool / "secrets").mkdir(parents=True)
    (spool / "secrets" / "password").touch()
    (root_of(inputs) / "out" / "x").symlink_to("/nosuch/lab/password")
    places = {Path("/nosuch/lab"): spool / "secrets"}

    with pytest.raises(NotAnOutput, match="/pfs/out/x: it is a symbolic link to a secret"):
        contents(attrs.evolve(inputs, places=places), spool.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write to the folder")
def test_collect_stores_what_links_into_the_folder_of_an_s3_input_lead_to(inputs, tmp_path):
    """The folder is empty, so the command has created the file."""
    (root_of(inputs) / "s3").mkdir()
    (root_of(inputs) / "s3" / "new").write_bytes(b"n")
    (root_of(inputs) / "out" / "link").symlink_to("../s3/new")
    by_name = {**inputs.by_name, "s3": inputs.by_name["in"]}

    assert {"link": b"n"} == contents(attrs.evolve(inputs, by_name=by_name), tmp_path)


def test_collect_stores_a_large_file_once(inputs, tmp_path, elsewhere):
    """Its hard links, and all links to it, share the bytes."""
    out = root_of(inputs) / "out"
    (elsewhere / "large").write_bytes(b"x" * (SMALL + 1))
    (out / "1.txt").symlink_to(elsewhere / "large")
    (out / "2.csv").symlink_to(elsewhere / "large")
    (out / "3").write_bytes(b"y" * (SMALL + 1))
    (out / "4").hardlink_to(out / "3")
    entries = collected(inputs, tmp_path)

    assert entries["1.txt"].extents == entries["2.csv"].extents
    assert entries["3"].extents == entries["4"].extents
    assert {"content-type": "text/csv"} == entries["2.csv"].headers


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.truncate(file, 3 * SMALL),
        lambda file: os.truncate(file, SMALL),
        lambda file: file.open("r+b").write(b"y"),
        lambda file: file.open("ab").write(b"y"),
    ],
    ids=["grows", "shrinks", "is written", "is appended to"],
)
@pytest.mark.parametrize("is_link", [True, False], ids=["a link", "a file"])
def test_collect_rejects_files_that_change_while_they_are_read(
    inputs, tmp_path, elsewhere, change, is_link
):
    file = (elsewhere if is_link else root_of(inputs) / "out") / "file"
    file.write_bytes(b"x" * (2 * SMALL))
    if is_link:
        (root_of(inputs) / "out" / "file").symlink_to(file)
    left = [3]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            change(file)

    with pytest.raises(NotAnOutput, match="/pfs/out/file: it changed while it was read"):
        collected(inputs, tmp_path, check=check)
    assert left[0] <= 0


def test_collect_does_not_read_a_file_that_grows_without_end(inputs, tmp_path, elsewhere):
    log = elsewhere / "log"
    log.write_bytes(b"x")
    (root_of(inputs) / "out" / "log").symlink_to(log)
    calls = []

    def check() -> None:
        calls.append(1)
        os.truncate(log, log.stat().st_size + 2 * SMALL)

    with pytest.raises(NotAnOutput, match="it changed while it was read"):
        collected(inputs, tmp_path, check=check)
    assert len(calls) < 10


def test_collect_does_not_follow_a_file_that_has_become_a_link(inputs, tmp_path, elsewhere):
    """A process of the command's user can replace a path that the agent has just seen."""
    (elsewhere / "file").write_bytes(b"secret")
    path = root_of(inputs) / "out" / "file"
    path.write_bytes(b"x")

    def replace() -> None:
        path.unlink()
        path.symlink_to(elsewhere / "file")

    with pytest.raises(NotAnOutput, match="/pfs/out/file: it was replaced"):
        contents(inputs, tmp_path, check=replace)


def test_collect_reads_a_file_in_the_folder_where_it_was_found(inputs, tmp_path, elsewhere):
    """Also when a link to another folder has taken its place."""
    (elsewhere / "file").write_bytes(b"secret")
    out = root_of(inputs) / "out"
    (out / "sub").mkdir()
    (out / "sub" / "file").write_bytes(b"x")

    def replace() -> None:
        if not (out / "sub").is_symlink():
            (out / "sub").rename(tmp_path / "old")
            (out / "sub").symlink_to(elsewhere)

    assert {"sub/file": b"x"} == contents(inputs, tmp_path, check=replace)


def test_collect_does_not_list_a_folder_that_has_become_a_link(inputs, tmp_path, elsewhere):
    """Its names may be secret."""
    (elsewhere / "secret").touch()
    out = root_of(inputs) / "out"
    (out / "a").touch()
    (out / "sub").mkdir()
    (out / "sub" / "file").touch()

    def replace() -> None:
        if not (out / "sub").is_symlink():
            (out / "sub").rename(tmp_path / "old")
            (out / "sub").symlink_to(elsewhere)

    with pytest.raises(NotAnOutput, match="/pfs/out/sub: it was replaced"):
        contents(inputs, tmp_path, check=replace)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("make", [os.link, os.symlink], ids=["hard link", "symbolic link"])
@pytest.mark.parametrize(
    ("mode", "is_readable"), [(0o600, False), (0o644, True)], ids=["closed", "readable"]
)
def test_collect_reads_files_of_others_with_the_rights_of_the_commands_user(
    inputs, public_path, make, mode, is_readable
):
    """The kernel may let a user make a hard link to a file that is closed to the user."""
    file = public_path / "file"
    file.write_bytes(b"x")
    file.chmod(mode)
    make(file, root_of(inputs) / "out" / "link")
    user = Identity(4001, 4001, (4001,))

    if is_readable:
        assert {"link": b"x"} == contents(inputs, public_path, identity=user)
    else:
        with pytest.raises(NotAnOutput, match=r"/pfs/out/link: .* may not read it"):
            contents(inputs, public_path, identity=user)


def test_collect_reads_a_linked_file_in_pieces(inputs, tmp_path, elsewhere):
    """Memory does not grow with the size of the file."""
    (elsewhere / "file").touch()
    os.truncate(elsewhere / "file", 64 * SMALL)
    (root_of(inputs) / "out" / "link").symlink_to(elsewhere / "file")
    tracemalloc.start()
    try:
        entries = collected(inputs, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 64 * SMALL == entries["link"].size
    assert peak < 16 * SMALL


def test_collect_can_be_stopped_within_a_file(inputs, tmp_path, elsewhere):
    (elsewhere / "file").touch()
    os.truncate(elsewhere / "file", 64 * SMALL)
    (root_of(inputs) / "out" / "link").symlink_to(elsewhere / "file")
    left = [5]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(inputs, tmp_path, check=check)
