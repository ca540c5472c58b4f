"""The contract of backends, tested once for each implementation."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import Conflict, Invalid, NotFound
from worker.store.backends.base import AlreadyThere, Backend

PARTS = st.sampled_from(["a", "a-b", "a.b", "b", "A", "0", "a0", "_", "@x"])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)

BAD_NAMES = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "../up",
    "parent later": "a/../../up",
    "current": "./a",
    "empty part": "a//b",
    "trailing slash": "a/",
    "hidden": "a/.b",
    "NUL": "a\0b",
    "newline": "a\n",
    "space": "a b",
    "not ASCII": "ä",
    "too long": "a" * 256,
}


def names(backend: Backend, prefix: str = "", after: str = "") -> list[str]:
    return [listed.name for listed in backend.list_from(prefix, after)]


class BackendContract:
    """Tests for a subclass with a fixture ``backend``, which is empty."""

    def test_get_returns_the_bytes_of_put(self, backend):
        backend.put("a/b", b"\0\xff1")

        assert b"\0\xff1" == backend.get("a/b")

    def test_an_object_can_be_empty(self, backend):
        backend.put("a/empty", b"")

        assert b"" == backend.get("a/empty")
        assert ["a/empty"] == names(backend)

    def test_put_replaces_an_existing_object(self, backend):
        backend.put("a", b"first, and longer")
        backend.put("a", b"second")

        assert b"second" == backend.get("a")

    def test_get_of_a_missing_object_raises_not_found_with_its_name(self, backend):
        with pytest.raises(NotFound, match="a/nothing"):
            backend.get("a/nothing")
        with pytest.raises(NotFound, match="a/nothing"):
            backend.get("a/nothing", 1, 2)

    def test_a_folder_is_not_an_object(self, backend):
        backend.put("a/b", b"1")

        with pytest.raises(NotFound):
            backend.get("a")

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (0, 3, b"012"),
            (3, 5, b"34"),
            (7, None, b"789"),
            (8, 100, b"89"),
            (4, 4, b""),
            (10, 12, b""),
            (50, 60, b""),
        ],
    )
    def test_get_returns_a_range(self, backend, start, stop, expected):
        """A range is truncated at the end of the object, and empty beyond it."""
        backend.put("a", b"0123456789")

        assert expected == backend.get("a", start, stop)

    def test_put_new_raises_a_conflict_with_an_existing_object(self, backend):
        backend.put_new("slot", b"1")

        with pytest.raises(Conflict):
            backend.put_new("slot", b"2")
        assert b"1" == backend.get("slot")

    def test_put_new_of_the_same_bytes_is_idempotent(self, backend):
        """So a writer whose response was lost can repeat its request."""
        backend.put_new("slot", b"token 1")
        backend.put_new("slot", b"token 1")

        assert b"token 1" == backend.get("slot")

    def test_put_new_succeeds_for_one_of_many_concurrent_writers(self, backend):
        """Of many writers at once who say "new", exactly one succeeds."""

        def put(number: int) -> bool:
            try:
                backend.put_new("slots/one", b"%d" % number)
            except AlreadyThere:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(24)))

        assert 1 == sum(won)
        assert b"%d" % won.index(True) == backend.get("slots/one")

    def test_delete_removes_only_the_named_object(self, backend):
        backend.put("a/b", b"1")
        backend.put("a/c", b"2")
        backend.delete("a/b")

        assert ["a/c"] == names(backend)

    def test_delete_of_a_missing_object_succeeds(self, backend):
        """Its folder can be missing too."""
        backend.delete("never/was")
        backend.put("a", b"1")
        backend.delete("a/b")

        assert ["a"] == names(backend)

    def test_put_succeeds_in_a_folder_that_became_empty(self, backend):
        backend.put("a/b/c", b"1")
        backend.delete("a/b/c")
        backend.put("a/b/c", b"2")

        assert b"2" == backend.get("a/b/c")

    def test_exists_is_true_for_objects_only(self, backend):
        """Neither a folder nor a deleted object exists."""
        backend.put("a/b", b"")

        assert [True, False, False] == [backend.exists(name) for name in ("a/b", "a", "a/c")]
        backend.delete("a/b")
        assert not backend.exists("a/b")

    def test_folders_are_sorted_names_with_objects_below_them(self, backend):
        for name in ("r/b/1", "r/a-b/x/y", "r/a/1", "r/file", "s/1"):
            backend.put(name, b"")

        assert ["a", "a-b", "b"] == backend.folders("r/")
        assert ["r", "s"] == backend.folders("")
        assert [] == backend.folders("r/b/") == backend.folders("nothing/")

    def test_a_listing_has_sizes_and_monotonic_times(self, backend):
        backend.put("a/1", b"123")
        first = next(backend.list_from("a/"))
        backend.put("a/1", b"1234")
        second = next(backend.list_from("a/"))

        assert ("a/1", 3) == (first.name, first.size)
        assert ("a/1", 4) == (second.name, second.size)
        assert first.modified <= second.modified

    def test_a_listing_is_sorted_by_the_bytes_of_whole_names(self, backend):
        for name in ("a/b/c", "a-b/c", "a.b", "a0", "A", "a/b-/c", "a/b.c"):
            backend.put(name, b"")

        assert sorted(names(backend)) == names(backend)

    def test_a_listing_has_only_names_below_its_folder(self, backend):
        for name in ("a/1", "a/2/3", "ab/1", "a-1"):
            backend.put(name, b"")

        assert ["a/1", "a/2/3"] == names(backend, "a/")
        assert [] == names(backend, "nothing/")

    def test_a_listing_starts_strictly_after_any_name(self, backend):
        """There need not be an object of this name."""
        for name in ("a/1", "a/2/3", "a/2/4", "a/5"):
            backend.put(name, b"")

        assert ["a/2/4", "a/5"] == names(backend, "a/", "a/2/3")
        assert ["a/5"] == names(backend, "a/", "a/20")
        assert [] == names(backend, "a/", "b")
        assert ["a/1", "a/2/3", "a/2/4", "a/5"] == names(backend, "a/", "Z")

    # Subclasses differ only in their backend, and each example empties it.
    @settings(
        max_examples=15,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(st.sets(NAMES, max_size=8), NAMES)
    def test_a_listing_is_a_sorted_list(self, backend, wanted, after):
        # No object has the name of a folder: a file cannot. The store has no such names.
        wanted = {name for name in wanted if not any(o.startswith(name + "/") for o in wanted)}
        for name in names(backend):
            backend.delete(name)
        for name in wanted:
            backend.put(name, b"")

        assert sorted(name for name in wanted if name > after) == names(backend, "", after)

    @pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
    def test_illegal_names_are_rejected(self, backend, name):
        """No name can be read as another one, or as a path out of the store."""
        for call in (
            lambda: backend.get(name),
            lambda: backend.put(name, b""),
            lambda: backend.put_new(name, b""),
            lambda: backend.delete(name),
            lambda: backend.create(name),
        ):
            with pytest.raises(Invalid):
                call()
        assert [] == names(backend)

    def test_a_blob_is_written_in_pieces_and_read_in_ranges(self, backend):
        pieces = [b"1" * 10, b"2" * (6 << 20), b"", b"3" * (5 << 20), b"4"]
        sink = backend.create("blobs/s/1")
        for piece in pieces:
            sink.write(piece)
        sink.close()
        backend.sync(["blobs/s/1"])
        whole = b"".join(pieces)

        assert whole == backend.read("blobs/s/1", 0, len(whole))
        for start in (0, 9, 10, (6 << 20) + 10, (8 << 20) - 1, 8 << 20, len(whole) - 1):
            for length in (1, 2, 3 << 20):
                found = backend.read("blobs/s/1", start, start + length)
                assert whole[start : start + length] == found

    def test_a_blob_reads_short_only_at_its_end(self, backend):
        sink = backend.create("blobs/s/1")
        sink.write(b"123")
        sink.close()

        assert (b"23", b"") == (backend.read("blobs/s/1", 1, 9), backend.read("blobs/s/1", 3, 9))
        with pytest.raises(NotFound, match="blobs/s/2"):
            backend.read("blobs/s/2", 0, 1)

    def test_a_discarded_blob_is_deleted(self, backend):
        sink = backend.create("blobs/s/1")
        sink.write(b"1" * (6 << 20))
        sink.discard()

        assert [] == names(backend)

    def test_sweep_removes_no_object(self, backend):
        backend.put("a/b", b"1")
        backend.sweep(2e10)

        assert b"1" == backend.get("a/b")
