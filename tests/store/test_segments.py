"""The format of segments, their boundaries and the meaning of entries."""

import hashlib

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Unavailable
from worker.model import STORED_HEADERS, Checksum, Entry, Extent, Part
from worker.store import segments

RUN = Extent.of_run("stage-1/w-0", offset=100, length=50, sha256=b"\1" * 32)
ENTRY = Entry(
    key="a/b ü",
    size=40,
    etag="0123-2",
    modified=1700000000000,
    extents=(RUN.slice(5, 30), RUN.slice(0, 10)),
    headers={"content-type": "text/plain", "cache-control": "no-store"},
    metadata={"site": "Basel", "author": "me"},
    tags={"b": "2", "a": "1"},
    checksum=Checksum("CRC32", "AAAAAA==-2", "COMPOSITE"),
    parts=(Part(1, 30, Checksum("CRC32", "AAAAAA==")), Part(3, 10)),
)

SAME = {
    "other time": {"modified": 5},
    "other order of headers": {
        "headers": {"cache-control": "no-store", "content-type": "text/plain"}
    },
    "other place": {
        "extents": tuple(attrs.evolve(e, blob="x/y-1", run_offset=0) for e in ENTRY.extents)
    },
}
OTHER = {
    "key": {"key": "a/c"},
    "size": {"size": 41},
    "etag": {"etag": "0124-2"},
    "content": {"extents": tuple(attrs.evolve(e, sha256=b"\2" * 32) for e in ENTRY.extents)},
    "slice": {"extents": (RUN.slice(5, 40),)},
    "header": {"headers": {"content-type": "text/plain"}},
    "metadata": {"metadata": {}},
    "tags": {"tags": {"b": "2", "a": "2"}},
    "checksum": {"checksum": None},
    "parts": {"parts": ()},
}

BOUNDARIES = "25e0bdac62ed1983"

texts = st.text(max_size=8)
checksums = st.none() | st.sampled_from(
    [
        Checksum("CRC32", "AAAAAA=="),
        Checksum("CRC32", "AAAAAA==-2", "COMPOSITE"),
        Checksum("SHA256", "A" * 43 + "="),
    ]
)
part_checksums = st.none() | st.just(Checksum("CRC32", "AAAAAA=="))
sizes = st.integers(1, 2**40)


@st.composite
def extents(draw):
    start, length, rest = draw(sizes), draw(sizes), draw(sizes)
    digest = draw(st.binary(min_size=32, max_size=32))
    return Extent("stage/blob", draw(sizes), start + length + rest, digest, start, length)


@st.composite
def entries(draw):
    found = draw(st.lists(extents(), max_size=3).map(tuple))
    checksum = draw(checksums)
    has_parts = checksum is not None and checksum.algorithm == "CRC32"
    of_parts = part_checksums if has_parts else st.none()
    parts = [Part(n, e.length, draw(of_parts)) for n, e in enumerate(found, start=1)]
    return Entry(
        key="k",
        size=sum(extent.length for extent in found),
        etag=draw(st.text("0123456789abcdef-", min_size=1)),
        modified=draw(st.integers(0, 2**47)),
        extents=found,
        headers=draw(
            st.dictionaries(
                st.sampled_from(sorted(STORED_HEADERS)),
                st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
                max_size=2,
            )
        ),
        metadata=draw(st.dictionaries(st.sampled_from(["site", "x-1"]), texts, max_size=2)),
        tags=draw(st.dictionaries(texts, texts, max_size=2)),
        checksum=checksum,
        parts=tuple(parts) if draw(st.booleans()) else (),
    )


def a_segment(*keys: str) -> bytes:
    return segments.encode(
        b"salt", keys, [segments.row(attrs.evolve(ENTRY, key=key)) for key in keys]
    )


def meaning_of(entry: Entry) -> bytes:
    return segments.meaning(entry.key, segments.row(entry))[0]


@given(entries())
def test_a_row_decodes_to_its_entry(entry):
    assert entry == segments.entry("k", segments.row(entry))


def test_find_returns_the_entry_of_a_key_or_none():
    segment = segments.decode("s", a_segment("a", "b", "ü"))

    assert attrs.evolve(ENTRY, key="b") == segment.find("b")
    assert [None, None, None] == [segment.find(key) for key in ("", "aa", "z")]


def test_rows_of_a_decoded_segment_encode_to_the_same_bytes():
    data = a_segment("a", "b")
    segment = segments.decode("s", data)

    assert data == segments.encode(b"salt", segment.keys, segment.rows)


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_meaning_does_not_depend_on_time_place_or_order(changes):
    assert meaning_of(ENTRY) == meaning_of(attrs.evolve(ENTRY, **changes))


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_meaning_depends_on_all_that_clients_see_but_the_time(changes):
    assert meaning_of(ENTRY) != meaning_of(attrs.evolve(ENTRY, **changes))


def test_one_key_in_4096_is_a_boundary():
    """Also of keys that differ only in a number."""
    ends = sum(segments.ends_segment(f"data/part-{n:06d}.parquet") for n in range(200_000))

    assert 35 < ends < 65  # the expectation is 49


def test_boundaries_are_part_of_the_format():
    """Existing stores depend on them."""
    ends = [n for n in range(30_000) if segments.ends_segment(f"key {n}")]

    assert hashlib.sha256(repr(ends).encode()).hexdigest().startswith(BOUNDARIES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zstd",
        a_segment("a")[:-3],
        segments.compress(b"\xc1"),
        segments.compress(msgspec.msgpack.encode((2, b"", ["a", "b"], [1]))),
        segments.compress(msgspec.msgpack.encode((2, b"", "a", []))),
    ],
    ids=["empty", "garbage", "truncated", "not msgpack", "missing row", "keys not a list"],
)
def test_other_data_is_damaged(data):
    with pytest.raises(Unavailable, match="segments/x"):
        segments.decode("segments/x", data)


@pytest.mark.parametrize("array", [(7, {}, {}), (1, [], [])], ids=["newer", "older"])
def test_another_format_is_rejected_with_its_number(array):
    with pytest.raises(Unavailable, match=f"format {array[0]}"):
        segments.decode("s", segments.compress(msgspec.msgpack.encode(array)))
