"""Headers and metadata of stored entries: a response has those of S3, and no others."""

import attrs
import pytest
from builders import an_entry
from s3.protocol_builders import a_request

from worker.model import STORED_HEADERS, Extent
from worker.s3.reads import read
from worker.store import segments
from worker.store.backends.base import Damaged
from worker.store.segments import Segment

ENTRY = an_entry("a", b"123", (Extent("stage/blob", 0, 3, b"1" * 32, 0, 3),))
# Headers of the protocol, of the browser's security, and of this response.
FOREIGN = (
    "set-cookie", "access-control-allow-origin", "transfer-encoding", "content-length",
    "connection", "location", "etag", "last-modified", "content-range", "server", "x-amz-meta-a",
    "x-amz-request-id", "strict-transport-security", "www-authenticate", "a\r\nset-cookie", "",
)  # fmt: skip
BAD_VALUES = {"CR LF": "a\r\nx: y", "LF": "a\nb", "NUL": "a\0b", "CR": "a\r", "beyond Latin-1": "€"}


def stored(**changes) -> Segment:
    entry = attrs.evolve(ENTRY, **changes)
    return segments.decode("segments/1", segments.encode(b"salt", ["a"], [segments.row(entry)]))


def served(entry) -> dict[bytes, bytes]:
    return dict(read(a_request("GET", "/out/a"), entry, now=0.0).headers)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_stored_header_that_s3_does_not_store_is_not_served(name):
    headers = {"content-type": "text/plain", name: "evil"}
    found = served(stored(headers=headers).entry(0))

    assert served(stored(headers={"content-type": "text/plain"}).entry(0)) == found
    assert b"evil" not in found.values()


@pytest.mark.parametrize("name", sorted(STORED_HEADERS))
def test_a_header_that_s3_stores_is_served(name):
    assert b"a; b=1" == served(stored(headers={name: "a; b=1"}).entry(0))[name.encode()]


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_a_value_that_no_header_can_carry_is_damage(value):
    with pytest.raises(Damaged, match=r"segments/1.*content-type"):
        stored(headers={"content-type": value}).entry(0)


@pytest.mark.parametrize("name", ["a\r\nx", "A", "", "a b", "a:", "ü", "a\0"])
def test_a_name_of_metadata_that_no_header_can_have_is_damage(name):
    with pytest.raises(Damaged, match=r"segments/1.*user metadata"):
        stored(metadata={name: "1"}).entry(0)


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_a_value_of_metadata_with_controls_is_encoded(value):
    found = served(stored(metadata={"m": value}).entry(0))[b"x-amz-meta-m"]

    assert found.isascii()
    assert not set(found) & set(b"\r\n\0")


@pytest.mark.parametrize("etag", ['"\r\nx: y', 'a"b', "", "ü", "a" * 101])
def test_an_etag_that_no_header_can_carry_is_damage(etag):
    with pytest.raises(Damaged, match="ETag"):
        stored(etag=etag).entry(0)
