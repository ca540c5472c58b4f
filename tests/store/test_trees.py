"""Trees, compared with dictionaries."""

import hashlib
import itertools
import random

import attrs
import pytest
from builders import an_entry
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Invalid, Unavailable
from worker.model import Entry, Extent
from worker.store import segments, trees
from worker.store.backends.base import StoreUnavailable
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.trees import NotCached, SegmentCache, SegmentRow, Tree, apply, read_root

KEYS = st.text(st.sampled_from("ab/é\U00010000\uffff"), min_size=1, max_size=4)
BOUNDS = KEYS | st.just("")
CONTENTS = st.dictionaries(KEYS, st.integers(0, 3), max_size=30)
CHANGES = st.dictionaries(KEYS, st.none() | st.integers(0, 3), max_size=12)


def an_entry_of(key: str, number: int) -> Entry:
    data = b"%d" % number
    extent = Extent.of_run("s/w-0", offset=0, length=1, sha256=hashlib.sha256(data).digest())
    return an_entry(key, data, (extent,))


def changes_of(numbers):
    return [
        (key, None if numbers[key] is None else an_entry_of(key, numbers[key]))
        for key in sorted(numbers)
    ]


def shape(tree: Tree) -> list[SegmentRow]:
    """Return the segments of *tree* without their addresses, which are salted."""
    return [attrs.evolve(row, address=b"") for row in tree.rows]


def contents(tree: Tree) -> list[Entry]:
    return list(tree.entries())


@pytest.fixture
def _short_segments(monkeypatch):
    """Segments of three entries on average, and of six at most."""
    monkeypatch.setattr(segments, "AVERAGE", 3)
    monkeypatch.setattr(trees, "LIMIT", 6)


@pytest.fixture
def empty(tmp_path):
    return open_store(tmp_path / "store").empty_tree()


def reopened(tree: Tree) -> Tree:
    return Tree(tree.backend, tree.root, read_root(tree.backend, tree.root), SegmentCache(1))


@pytest.mark.usefixtures("_short_segments")
class TestAgainstADictionary:
    # Shared by all examples, as no two trees share an object by name.
    backend = open_store("memory://trees").backend

    def empty(self) -> Tree:
        return Store(self.backend).empty_tree()

    @given(CONTENTS, CHANGES, CHANGES)
    def test_a_tree_with_changes_equals_a_dictionary_with_changes(self, numbers, first, second):
        tree = apply(self.empty(), changes_of(numbers))
        for changes in (first, second):
            tree = apply(tree, changes_of(changes))
            numbers = {k: n for k, n in (numbers | changes).items() if n is not None}

        assert [an_entry_of(key, numbers[key]) for key in sorted(numbers)] == contents(tree)
        assert (len(numbers), len(numbers)) == (tree.count, tree.size)

    @given(CONTENTS, CHANGES)
    def test_a_tree_does_not_depend_on_its_history(self, numbers, changes):
        """A tree made by changes has the segments of a tree made of all its contents at once."""
        changed = apply(apply(self.empty(), changes_of(numbers)), changes_of(changes))
        numbers = {k: n for k, n in (numbers | changes).items() if n is not None}
        made = apply(self.empty(), changes_of(numbers))

        assert shape(made) == shape(changed)
        assert made.digest == changed.digest

    @given(CONTENTS, BOUNDS, BOUNDS, BOUNDS)
    def test_entries_are_those_of_a_sorted_list(self, numbers, start, after, prefix):
        """With any start, any key to continue after and any prefix."""
        tree = reopened(apply(self.empty(), changes_of(numbers)))

        assert [
            key
            for key in sorted(numbers)
            if key >= start and key > after and key.startswith(prefix)
        ] == [e.key for e in tree.entries(start=start, after=after, prefix=prefix)]

    @given(CONTENTS, KEYS)
    def test_entry_returns_the_entry_of_a_key_or_none(self, numbers, key):
        tree = reopened(apply(self.empty(), changes_of(numbers)))

        assert (an_entry_of(key, numbers[key]) if key in numbers else None) == tree.entry(key)


def test_keys_are_sorted_by_their_utf8_bytes(empty):
    """Also those beyond the basic multilingual plane."""
    keys = ["\uffff", "\U00010000", "z", "é", "Z"]
    tree = apply(empty, changes_of(dict.fromkeys(keys, 1)))

    assert sorted(keys, key=str.encode) == [entry.key for entry in contents(tree)]


def test_apply_stores_the_root_of_an_empty_tree(empty):
    tree = reopened(apply(empty, []))

    assert ([], 0, 0) == (contents(tree), tree.count, tree.size)


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"]], ids=["descending", "twice"])
def test_apply_rejects_changes_out_of_order(empty, keys):
    with pytest.raises(Invalid, match="sorted"):
        apply(empty, [(key, an_entry_of(key, 1)) for key in keys])


def test_apply_writes_only_segments_that_changes_touch(empty):
    """Ten changes of 60,000 files write at most ten segments and a root."""
    tree = apply(empty, changes_of({f"f/{n:06d}": n % 3 for n in range(60_000)}))
    before = {listed.name for listed in tree.backend.list_from("")}
    chosen = random.Random(1).sample(range(60_000), 10)
    changed = apply(reopened(tree), changes_of({f"f/{n:06d}": 7 for n in chosen}))
    written = {listed.name for listed in tree.backend.list_from("")} - before

    assert 10 < len(tree.rows)
    assert len(written) <= 11
    assert f"trees/{changed.root}" in written


def test_apply_without_effective_changes_returns_the_base(empty):
    tree = apply(empty, changes_of({"a": 1}))

    assert tree is apply(tree, [])
    assert shape(tree) == shape(apply(tree, [("a", tree.entry("a")), ("b", None)]))


def test_apply_stores_new_objects_each_time(empty):
    """Gc may be deleting those of an earlier call."""
    one, other = (apply(empty, changes_of({"a": 1})) for _ in range(2))

    assert shape(one) == shape(other)
    assert one.root != other.root
    assert not {row.address for row in one.rows} & {row.address for row in other.rows}


def test_discard_deletes_only_what_was_stored_for_the_tree(empty):
    tree = apply(empty, changes_of({f"f/{n:06d}": n % 3 for n in range(30_000)}))
    before = [listed.name for listed in tree.backend.list_from("")]
    apply(tree, changes_of({"f/000001": 7})).discard()

    assert before == [listed.name for listed in tree.backend.list_from("")]
    apply(tree, []).discard()
    tree.discard()
    assert [] == list(tree.backend.list_from(""))


def test_a_failed_apply_deletes_what_it_stored(empty, monkeypatch):
    """Any of its writes can fail."""
    changes = changes_of({f"f/{n:06d}": n % 3 for n in range(10_000)})
    objects = len(apply(empty, changes).rows) + 1
    for listed in list(empty.backend.list_from("")):
        empty.backend.delete(listed.name)
    real = empty.backend.put
    for refused in range(objects):
        number = itertools.count()

        def put(name, data, refused=refused, number=number):
            if next(number) == refused:
                raise StoreUnavailable(f"writing {name}", "No space left on device")
            real(name, data)

        monkeypatch.setattr(empty.backend, "put", put)
        with pytest.raises(StoreUnavailable):
            apply(empty, changes)
        assert [] == list(empty.backend.list_from(""))


def test_the_digest_does_not_depend_on_time_and_blobs(empty):
    entry = an_entry_of("a", 1)
    elsewhere = attrs.evolve(
        entry, modified=99, extents=(attrs.evolve(entry.extents[0], blob="x/y-9"),)
    )
    one, other = apply(empty, [("a", entry)]), apply(empty, [("a", elsewhere)])

    assert one.digest == other.digest
    assert one.root != other.root


def test_open_reads_only_the_root(empty):
    """Count, size and digest are in it."""
    tree = apply(empty, changes_of({f"{n:05d}": 1 for n in range(20_000)}))
    for listed in list(tree.backend.list_from("segments/")):
        tree.backend.delete(listed.name)

    assert (20_000, tree.digest) == ((opened := reopened(tree)).count, opened.digest)


def test_the_cache_of_segments_is_bounded(empty):
    tree = apply(empty, changes_of({f"{n:05d}": 1 for n in range(40_000)}))
    cache = SegmentCache(2_000_000)
    opened = Tree(tree.backend, tree.root, read_root(tree.backend, tree.root), cache)
    read = [entry.key for entry in opened.entries()]
    kept = [row for row in opened.rows if cache.cached(row.address)]

    assert 40_000 == len(read)
    assert 0 < len(kept) < len(opened.rows)


def test_entry_nowait_finds_entries_only_in_cached_segments(empty):
    tree = reopened(apply(empty, changes_of({"a": 1, "b": 2})))
    with pytest.raises(NotCached):
        tree.entry_nowait("a")
    found = tree.entry("a")

    assert (found, None) == (tree.entry_nowait("a"), tree.entry_nowait("aa"))
    assert tree.entry_nowait("c") is None


@pytest.mark.parametrize("folder", ["segments/", "trees/"])
def test_a_root_or_segment_with_other_bytes_is_damaged(empty, folder):
    tree = apply(empty, changes_of({"a": 1}))
    other = apply(empty, changes_of({"a": 2}))
    one, two = list(tree.backend.list_from(folder))
    first, second = tree.backend.get(one.name), tree.backend.get(two.name)
    tree.backend.put(one.name, second)
    tree.backend.put(two.name, first)

    with pytest.raises(Unavailable, match="SHA-256"):
        reopened(other).entry("a")
