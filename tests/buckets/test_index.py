"""The index of the output bucket."""

import errno
import gc
import multiprocessing
import os
import subprocess
from pathlib import Path

import attrs
import pytest
from buckets.output_builders import RUN, Refused, assemble, entry, part, refuse
from hypothesis import given
from hypothesis import strategies as st

from worker.buckets.index import Index, IndexExists
from worker.buckets.index_errors import IndexUnavailable
from worker.errors import KeyMissing, OutputClosed
from worker.model import Checksum, Entry, Part, Upload


def must_be_new(there: Entry | None) -> None:
    if there is not None:
        raise Refused(there.key)


def test_an_entry_round_trips(index: Index) -> None:
    full = Entry(
        key="a/ü/\x01 +%\U0001f600",
        size=7,
        etag="0-2",
        modified=1_700_000_000_123,
        extents=(RUN, RUN.slice(1, 2)),
        headers={"content-type": "text/plain"},
        metadata={"mtime": "1"},
        tags={"k": "v"},
        checksum=Checksum("CRC32", "AAAAAA==-2", "COMPOSITE"),
        parts=(Part(1, 5, Checksum("CRC32", "AAAAAA==")), Part(3, 2)),
    )

    index.put(full, epoch=0)

    assert full == index.get(full.key)


def test_creating_an_existing_index_fails(tmp_path: Path) -> None:
    Index.create(tmp_path / "index")

    with pytest.raises(IndexExists):
        Index.create(tmp_path / "index")


def test_a_full_disk_rejects_a_change_and_blocks_no_other(index: Index) -> None:
    """The next change succeeds once there is space."""
    index.put(entry("a"), epoch=0)
    index._connection().execute("PRAGMA max_page_count = 1")
    large = attrs.evolve(entry("b"), metadata={"m": "1" * 100_000})
    with pytest.raises(IndexUnavailable) as caught:
        index.put(large, epoch=0)

    assert errno.ENOSPC == caught.value.errno
    assert ["a"] == [found.key for found in index.entries()]
    index._connection().execute("PRAGMA max_page_count = 1000000")
    index.put(large, epoch=0)
    assert large == index.get("b")


def test_an_index_that_cannot_be_opened_leaves_no_other_error(tmp_path: Path) -> None:
    """An exception of a finalizer would be logged after the error; pytest reports it."""
    with pytest.raises(IndexUnavailable, match="unable to open"):
        Index(tmp_path / "missing" / "index").get("a")
    gc.collect()


@pytest.mark.parametrize("left", [0, 4096, 16384])
def test_opening_an_index_on_a_full_disk_is_unavailable(tmp_path: Path, left: int) -> None:
    """The shared-memory file needs space."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be made here")
    try:
        Index.create(folder / "index")
        found = os.statvfs(folder)
        (folder / "filling").write_bytes(b"1" * (found.f_bavail * found.f_frsize - left))
        index = Index(folder / "index")
        with pytest.raises(IndexUnavailable) as caught:
            index.get("a")

        assert errno.ENOSPC == caught.value.errno
        (folder / "filling").unlink()
        assert index.get("a") is None
        index.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda i, e: i.put(entry("new"), epoch=e), id="put"),
        pytest.param(lambda i, e: i.remove("old", epoch=e), id="remove"),
        pytest.param(
            lambda i, e: i.update("old", lambda x: attrs.evolve(x, tags={"a": "b"}), epoch=e),
            id="update",
        ),
        pytest.param(lambda i, e: i.create_upload(Upload("v", "k", 1), epoch=e), id="begin"),
        pytest.param(lambda i, e: i.put_part("k", "u", part(2), epoch=e), id="part"),
        pytest.param(lambda i, e: i.abort_upload("k", "u", epoch=e), id="abort"),
        pytest.param(
            lambda i, e: i.complete_upload("k", "u", make_entry=assemble, epoch=e), id="complete"
        ),
    ],
)
@pytest.mark.parametrize("close", ["freeze", "roll_back"])
def test_a_frozen_index_rejects_changes(index: Index, change, close: str) -> None:
    """Also of requests that started earlier."""
    index.put(entry("old"), epoch=0)
    index.create_upload(Upload("u", "k", 1), epoch=0)
    index.put_part("k", "u", part(1), epoch=0)
    index.start_epoch()
    began = index.epoch()
    getattr(index, close)()

    with pytest.raises(OutputClosed):
        change(index, began)

    assert [entry("old")] == list(index.entries())
    assert [part(1)] == index.parts("k", "u")


def test_a_request_of_an_earlier_successful_epoch_may_finish(index: Index) -> None:
    """Its changes are not rolled back with the epoch in which they are made."""
    index.put(entry("changed", "0"), epoch=0)
    index.put(entry("deleted"), epoch=0)
    index.start_epoch()
    index.put(entry("changed", "1"), epoch=1)
    index.put(entry("dropped"), epoch=1)

    index.put(entry("changed", "late"), epoch=0)
    index.put(entry("new", "late"), epoch=0)
    index.remove("deleted", epoch=0)
    index.remove("dropped", epoch=0)
    index.roll_back()

    assert [entry("changed", "late"), entry("new", "late")] == list(index.entries())


def test_a_snapshot_outlives_a_roll_back(index: Index) -> None:
    """The first one is kept, and has the objects of the epoch that is rolled back."""
    index.put(entry("before"), epoch=0)
    index.start_epoch()
    index.put(entry("failed"), epoch=1)
    index.remove("before", epoch=1)
    assert not index.has_snapshot()
    index.take_snapshot()
    index.roll_back()
    index.put(entry("later"), epoch=2)
    index.take_snapshot()

    assert [entry("failed")] == list(index.entries(snapshot=True))
    assert [entry("before"), entry("later")] == list(index.entries())


def test_an_output_that_is_closed_accepts_what_is_in_flight(index: Index) -> None:
    """A request that begins afterwards is refused, until a new try starts."""
    began = index.begin()
    index.refuse_new()

    with pytest.raises(OutputClosed, match="The job has ended"):
        index.begin()
    index.put(entry("in flight"), epoch=began)

    assert index.is_closed()
    assert [entry("in flight")] == list(index.entries())


def test_an_error_of_the_condition_is_raised_and_changes_nothing(index: Index) -> None:
    index.put(entry("a", "1"), epoch=0)

    with pytest.raises(Refused):
        index.put(entry("a", "2"), epoch=0, decide=refuse)
    with pytest.raises(Refused):
        index.remove("a", epoch=0, decide=refuse)

    assert entry("a", "1") == index.get("a")


def test_updating_a_missing_key_raises_key_missing(index: Index) -> None:
    with pytest.raises(KeyMissing):
        index.update("a", lambda there: there, epoch=0)


def _race(path: Path, name: str, barrier, won) -> None:
    index = Index(path)
    barrier.wait()
    for n in range(100):
        try:
            index.put(entry(f"k{n}", name), epoch=0, decide=must_be_new)
        except Refused:
            continue
        won.put((n, name))
    index.close()


def test_of_many_processes_that_create_a_key_one_succeeds(tmp_path: Path) -> None:
    """Conditions are evaluated in the transaction."""
    index = Index.create(tmp_path / "index")
    index.close()
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(4), context.Queue()
    names = "wxyz"
    racers = [
        context.Process(target=_race, args=(tmp_path / "index", n, barrier, won)) for n in names
    ]
    for racer in racers:
        racer.start()
    winners = dict(won.get(timeout=60) for _ in range(100))
    for racer in racers:
        racer.join()

    assert winners == {n: index.get(f"k{n}").etag for n in range(100)}
    assert won.empty()


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "late"]), KEYS, st.text("01", min_size=1, max_size=3)),
        st.tuples(st.just("remove"), KEYS, st.just("")),
        st.tuples(st.sampled_from(["start_epoch", "roll_back"]), st.just(""), st.just("")),
    ),
    max_size=30,
)


@given(CHANGES, KEYS)
def test_any_sequence_of_changes_and_epochs_equals_that_of_a_dict(
    tmp_path_factory, changes, start: str
) -> None:
    index = Index.create(tmp_path_factory.mktemp("index") / "index")
    now: dict[str, Entry] = {}
    found: dict[str, Entry] = {}
    successful = index.epoch()
    for change, key, etag in changes:
        if change == "put":
            index.put(entry(key, etag), epoch=index.epoch())
            now[key] = entry(key, etag)
        elif change == "late":
            # A request that began in the last epoch that was not rolled back.
            index.put(entry(key, etag), epoch=successful)
            now[key] = entry(key, etag)
            if successful != index.epoch():
                found[key] = entry(key, etag)
        elif change == "remove":
            assert now.pop(key, None) == index.remove(key, epoch=index.epoch())
        elif change == "start_epoch":
            successful = index.epoch()
            index.start_epoch()
            found = dict(now)
        else:
            if successful == index.epoch():
                # No epoch was successful yet: the next one is the first.
                successful += 1
            index.roll_back()
            now = dict(found)
    in_order = [now[key] for key in sorted(now, key=str.encode)]

    assert in_order == list(index.entries())
    assert [e for e in in_order if e.key.encode() >= start.encode()] == list(index.entries(start))
    index.close()


def test_entries_continue_after_a_batch(index: Index) -> None:
    keys = [f"{n:05d}" for n in range(2500)]
    for key in keys:
        index.put(entry(key), epoch=0)

    assert keys == [e.key for e in index.entries()]
