"""What every backend promises, tested once for all of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import Conflict, DataLost, Invalid
from worker.store.backends.base import AlreadyThere, Backend

PARTS = st.sampled_from(["a", "a-b", "a.b", "b", "A", "0", "a0", "_", "@x"])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)

BAD_NAMES = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "../up",
    "parent in the middle": "a/../../up",
    "this": "./a",
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
    """A class that inherits this has a fixture ``backend``, an empty one."""

    def test_gives_back_what_was_put(self, backend):
        """What was put can be read, byte for byte."""
        backend.put("a/b", b"\0\xff1")

        assert b"\0\xff1" == backend.get("a/b")

    def test_holds_empty_objects(self, backend):
        """An object without bytes is an object."""
        backend.put("a/empty", b"")

        assert b"" == backend.get("a/empty")
        assert ["a/empty"] == names(backend)

    def test_replaces(self, backend):
        """A second put replaces the first."""
        backend.put("a", b"first, and longer")
        backend.put("a", b"second")

        assert b"second" == backend.get("a")

    def test_says_what_is_missing(self, backend):
        """To read what is not there raises DataLost with its name."""
        with pytest.raises(DataLost, match="a/nothing"):
            backend.get("a/nothing")
        with pytest.raises(DataLost, match="a/nothing"):
            backend.get("a/nothing", 1, 2)

    def test_a_folder_is_no_object(self, backend):
        """The folder of an object is not itself one."""
        backend.put("a/b", b"1")

        with pytest.raises(DataLost):
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
    def test_reads_ranges(self, backend, start, stop, expected):
        """A range is cut at the end of the object, and empty beyond it."""
        backend.put("a", b"0123456789")

        assert expected == backend.get("a", start, stop)

    def test_never_overwrites_what_must_be_new(self, backend):
        """Of two writers who both say "new", the second is told, and the first's bytes stay."""
        backend.put_new("slot", b"1")

        with pytest.raises(Conflict):
            backend.put_new("slot", b"2")
        assert b"1" == backend.get("slot")

    def test_the_same_bytes_are_the_same_write(self, backend):
        """A writer whose answer was lost writes again, and its own object is no conflict."""
        backend.put_new("slot", b"token 1")
        backend.put_new("slot", b"token 1")

        assert b"token 1" == backend.get("slot")

    def test_one_of_many_is_first(self, backend):
        """Of many writers at once who say "new", exactly one succeeds."""

        def claim(number: int) -> bool:
            try:
                backend.put_new("slots/one", b"%d" % number)
            except AlreadyThere:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(claim, range(24)))

        assert 1 == sum(won)
        assert b"%d" % won.index(True) == backend.get("slots/one")

    def test_deletes(self, backend):
        """What was deleted is not there any more, and what is beside it is."""
        backend.put("a/b", b"1")
        backend.put("a/c", b"2")
        backend.delete("a/b")

        assert ["a/c"] == names(backend)

    def test_deletes_what_is_not_there(self, backend):
        """To delete what is not there is fine, also where there is no such folder."""
        backend.delete("never/was")
        backend.put("a", b"1")
        backend.delete("a/b")

        assert ["a"] == names(backend)

    def test_can_put_where_all_was_deleted(self, backend):
        """A folder that became empty can be written to again."""
        backend.put("a/b/c", b"1")
        backend.delete("a/b/c")
        backend.put("a/b/c", b"2")

        assert b"2" == backend.get("a/b/c")

    def test_tells_whether_there_is_an_object(self, backend):
        """Neither a folder nor what was deleted is an object."""
        backend.put("a/b", b"")

        assert [True, False, False] == [backend.exists(name) for name in ("a/b", "a", "a/c")]
        backend.delete("a/b")
        assert not backend.exists("a/b")

    def test_lists_folders(self, backend):
        """Only what has something below it is a folder; names come without the slash, sorted."""
        for name in ("r/b/1", "r/a-b/x/y", "r/a/1", "r/file", "s/1"):
            backend.put(name, b"")

        assert ["a", "a-b", "b"] == backend.folders("r/")
        assert ["r", "s"] == backend.folders("")
        assert [] == backend.folders("r/b/") == backend.folders("nothing/")

    def test_lists_sizes(self, backend):
        """A listing says name and size, and a time that is not in the future of a later one."""
        backend.put("a/1", b"123")
        first = next(backend.list_from("a/"))
        backend.put("a/1", b"1234")
        second = next(backend.list_from("a/"))

        assert ("a/1", 3) == (first.name, first.size)
        assert ("a/1", 4) == (second.name, second.size)
        assert first.modified <= second.modified

    def test_lists_by_bytes(self, backend):
        """Listings are sorted by the whole name, not folder by folder."""
        for name in ("a/b/c", "a-b/c", "a.b", "a0", "A", "a/b-/c", "a/b.c"):
            backend.put(name, b"")

        assert sorted(names(backend)) == names(backend)

    def test_lists_below_a_folder(self, backend):
        """A prefix is a folder: what merely begins like it is not below it."""
        for name in ("a/1", "a/2/3", "ab/1", "a-1"):
            backend.put(name, b"")

        assert ["a/1", "a/2/3"] == names(backend, "a/")
        assert [] == names(backend, "nothing/")

    def test_lists_from_a_name(self, backend):
        """A listing goes on strictly after any name, whether there is an object of it or not."""
        for name in ("a/1", "a/2/3", "a/2/4", "a/5"):
            backend.put(name, b"")

        assert ["a/2/4", "a/5"] == names(backend, "a/", "a/2/3")
        assert ["a/5"] == names(backend, "a/", "a/20")
        assert [] == names(backend, "a/", "b")
        assert ["a/1", "a/2/3", "a/2/4", "a/5"] == names(backend, "a/", "Z")

    # The classes that inherit this differ in their backend alone, which is emptied each time.
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(st.sets(NAMES, max_size=8), NAMES)
    def test_lists_like_a_sorted_list(self, backend, wanted, after):
        """Whatever is put, a listing from a name is the rest of the sorted names."""
        # A name that is also a folder of another can't be a file; the store has no such names.
        wanted = {name for name in wanted if not any(o.startswith(name + "/") for o in wanted)}
        for name in names(backend):
            backend.delete(name)
        for name in wanted:
            backend.put(name, b"")

        assert sorted(name for name in wanted if name > after) == names(backend, "", after)

    @pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
    def test_refuses_names_that_are_none(self, backend, name):
        """No name is taken that could be read as another, or as a path to elsewhere."""
        for ask in (
            lambda: backend.get(name),
            lambda: backend.put(name, b""),
            lambda: backend.put_new(name, b""),
            lambda: backend.delete(name),
            lambda: backend.create(name),
        ):
            with pytest.raises(Invalid):
                ask()
        assert [] == names(backend)

    def test_writes_piece_by_piece(self, backend):
        """An object can be written in pieces of any size, and is there when it is closed."""
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

    def test_an_object_that_ends_early_reads_short(self, backend):
        """Beyond its end an object has no bytes; one that is not there is missing."""
        sink = backend.create("blobs/s/1")
        sink.write(b"123")
        sink.close()

        assert (b"23", b"") == (backend.read("blobs/s/1", 1, 9), backend.read("blobs/s/1", 3, 9))
        with pytest.raises(DataLost, match="blobs/s/2"):
            backend.read("blobs/s/2", 0, 1)

    def test_discards(self, backend):
        """An object that is discarded while it is being written leaves nothing."""
        sink = backend.create("blobs/s/1")
        sink.write(b"1" * (6 << 20))
        sink.discard()

        assert [] == names(backend)

    def test_sweeps_nothing_that_is_an_object(self, backend):
        """Sweeping what interrupted writes left takes no object."""
        backend.put("a/b", b"1")
        backend.sweep(2e10)

        assert b"1" == backend.get("a/b")
