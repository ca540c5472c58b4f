"""A store whose objects were forged, with digests that are right: verify names every contradiction,
and no command shows, serves or commits what contradicts itself."""

import os
import random
from contextlib import suppress

import pytest
from attacks.hostile_stores import Hostile, problem
from store.fuzz_store import Case, gateway, gc
from store.store_image import Link, sound_image

from worker.errors import WorkerError
from worker.store.backends.base import Damaged

LAB = "repos/default/labresults"
FIRST, HEAD, DEV = (f"{LAB}/commits/{number:032x}" for number in (2, 3, 4))
SOURCE = f"repos/default/source/commits/{1:032x}"
OTHER = f"repos/default/other/commits/{5:032x}"
SLOT = f"{LAB}/branches/master/00000000000"
COMMANDS = ("ls", "ls -r", "log", "log of a commit", "show", "show --json", "cat", "get", "tar")


@pytest.fixture(scope="module")
def image():
    return sound_image()


def forge(image, root, change):
    """Write the store with *change* below *root*, and return it with the names of its labels."""
    forged = image.copy()
    change(forged)
    hostile = Hostile(root)
    names = forged.write(hostile.place)
    (root / "folder").mkdir()
    (root / "folder" / "new").write_bytes(b"new")
    return hostile, names


def made_from(image, name, *inputs):
    image.documents[name]["inputs"] = [
        {"name": "in", "project": "default", "repo": each.split("/")[2], "branch": "master",
         "commit": each.rpartition("/")[2], "s3": True}
        for each in inputs
    ]  # fmt: skip


def parent(name, other):
    return lambda image: image.documents[name].update(parent=other.rpartition("/")[2])


def two_cycles(image):
    parent(FIRST, HEAD)(image)
    made_from(image, SOURCE, OTHER)
    made_from(image, OTHER, SOURCE)


def head_of(**changes):
    return lambda image: image.documents[HEAD].update(changes)


def tree_of(**changes):
    return lambda image: image.documents[HEAD]["tree"].update(changes)


def root(image):
    """Return the rows of the root of the head."""
    return image.documents[image.documents[HEAD]["tree"]["root"].label][2]


def segment(image, number=-1):
    """Return the last segment of the head, or another one."""
    return image.documents[root(image)[number][1].label]


def slots(*removed, moved=()):
    """Remove slots of the branch and its hint, and give others a new number."""

    def change(image):
        del image.raw[f"{LAB}/heads/master"]
        for number in removed:
            del image.documents[f"{SLOT}{number}"]
        for number, new in moved:
            image.documents[f"{SLOT}{new}"] = image.documents.pop(f"{SLOT}{number}")

    return change


def row_of_root(field, value):
    def change(image):
        root(image)[-1][field] = value

    return change


def keys(change):
    def forged(image):
        found = segment(image)
        found[2] = change(found[2])
        root(image)[-1][0] = max(found[2])

    return forged


FORGED = {
    "two commits are parents of each other": (parent(FIRST, HEAD), "made from itself"),
    "two cycles": (two_cycles, f"labresults@{3:032x}"),
    "provenance is a cycle": (lambda i: made_from(i, SOURCE, HEAD), "made from itself"),
    "an input is the commit itself": (lambda i: made_from(i, HEAD, HEAD), "made from itself"),
    "the parent is a commit of another repo": (parent(HEAD, OTHER), "which is missing"),
    "an input does not exist": (lambda i: made_from(i, HEAD, OTHER[:-1] + "f"), "which is missing"),
    "a commit is in the log of another branch": (
        lambda image: image.documents[f"{SLOT}1"].update(commit=DEV.rpartition("/")[2]),
        "made for the branch dev",
    ),
    "a commit of another repo is in the log": (
        lambda image: image.documents[f"{SLOT}1"].update(commit=OTHER.rpartition("/")[2]),
        "no such commit",
    ),
    "the first slot is missing": (slots(0), "slot 0 is missing, and slot 1 is not"),
    "a slot is missing": (slots(moved=[(1, 2)]), "slot 1 is missing, and slot 2 is not"),
    "the number of files": (tree_of(files=11), "files: found 10"),
    "the number of bytes": (tree_of(size=1), "bytes: found"),
    "the digest": (tree_of(digest="0" * 64), "digest: found"),
    "the root of another commit": (tree_of(root=Link("tree 0")), f"labresults@{3:032x}: "),
    "the count of a root": (row_of_root(3, 7), "does not agree with segment"),
    "the size of a root": (row_of_root(4, 7), "does not agree with segment"),
    "the digest of a root": (row_of_root(2, b"1" * 32), "does not agree with segment"),
    "the last key of a root": (row_of_root(0, "zz"), "does not agree with segment"),
    "another segment": (row_of_root(1, Link("segment 0")), "does not agree with segment"),
    "a segment twice": (lambda i: root(i).insert(1, list(root(i)[0])), "expected sorted keys"),
    "segments in another order": (lambda i: root(i).reverse(), "expected sorted keys"),
    "no segment": (lambda i: root(i).clear(), "files: found 0"),
    "segments that overlap": (keys(lambda found: ["a", *found[1:]]), "does not agree"),
    "unsorted keys": (keys(lambda found: found[::-1]), "not sorted and unique"),
    "a key twice": (keys(lambda found: [found[0], *found[:-1]]), "not sorted and unique"),
    "fewer rows than keys": (lambda i: segment(i)[3].pop(), "keys and"),
    "an empty key": (keys(lambda found: ["", *found[1:]]), "empty key"),
    "a key of 1,202 bytes": (keys(lambda found: [*found[:-1], "z/" + "\U0010ffff" * 300]), "bytes"),
    "a key of a megabyte": (keys(lambda found: [*found[:-1], "z" * (1 << 20)]), "<= 1024"),
}
"""Changes of objects other than entries, with what verify prints."""


def entry(field, value, *, key="a"):
    """Return a change of one field of an entry, with the path *field*."""

    def change(image):
        for document in image.documents.values():
            if isinstance(document, list) and len(document) == 4 and key in document[2]:
                found = document[3][document[2].index(key)]
                if not found[3] or (key == "a" and not found[7]):
                    continue  # the entry of an earlier commit
                *steps, last = field
                for step in steps:
                    found = found[step]
                found[last] = value

    return change


SHA256 = b"1" * 32
ENTRIES = {
    "size of 2^64 - 1": entry([0], 2**64 - 1),
    "size of 2^62": entry([0], 2**62),
    "negative size": entry([0], -10),
    "size that is not the sum": entry([0], 11),
    "ETag of many characters": entry([1], "a" * 100_000),
    "ETag with a quote": entry([1], '"\r\nx: y'),
    "negative time": entry([2], -1),
    "time of a year beyond 9999": entry([2], 2**60),
    "extent beyond its run": entry([3, 0, 4], 1),
    "extent of a path": entry([3, 0, 0], "../commits"),
    "extent of a blob with a long name": entry([3, 0, 0], "s/" + "a" * 1000),
    "digest of another length": entry([3, 0, 3], b"1"),
    "header with a line feed": entry([4, "content-type"], "a\r\nset-cookie: x=1"),
    "header beyond Latin-1": entry([4, "content-type"], "€"),
    "metadata with a colon": entry([5], {"a:": "b"}),
    "unknown checksum": entry([7, 0], "FOO"),
    "checksum of another length": entry([7, 1], "AAAA-2"),
    "checksum that is no Base64": entry([7, 1], "A-2"),
    "checksum without its parts": entry([7, 1], "AAAAAA=="),
    "unknown type of checksum": entry([7, 2], "FULL"),
    "part with a checksum that is no Base64": entry([8, 0, 2, 1], "A"),
    "part with the checksum of another algorithm": entry([8, 0, 2], ["SHA1", "A" * 27 + "=",
                                                                     "FULL_OBJECT"]),
    "part with a composite checksum": entry([8, 0, 2], ["CRC32", "AAAAAA==-1", "COMPOSITE"]),
    "parts that do not add up": entry([8, 0, 1], 9),
    "parts in another order": entry([8, 0, 0], 3),
}  # fmt: skip
"""Changes of the entry ``a`` of the head, which break a rule."""
CONTENT = {
    "extent in another file": entry([3, 0], ["stage1/w-0", 0, 8, SHA256, 0, 8]),
    "extent beyond the blob": entry([3, 0, 1], 1 << 40),
    "digest of another run": entry([3, 0, 3], SHA256),
}
"""Changes that only reading the content can detect."""


@pytest.mark.parametrize(("change", "found"), FORGED.values(), ids=FORGED)
def test_a_contradiction_is_named_by_verify_and_ends_no_command_otherwise(
    image, tmp_path, change, found
):
    hostile, _ = forge(image, tmp_path, change)
    done = {name: hostile.command(name) for name in (*COMMANDS, "verify")}

    assert {} == {name: why for name, each in done.items() if (why := problem(each))}
    assert 1 == done["verify"].status
    assert found in done["verify"].out
    with suppress(WorkerError):
        gc(Case(tmp_path, {}, random.Random(1)))


def test_every_cycle_is_named(image, tmp_path):
    hostile, _ = forge(image, tmp_path, two_cycles)
    lines = [each for each in hostile.command("verify").out.splitlines() if "itself" in each]

    assert 2 == len(lines)
    assert f"labresults@{2:032x}" in "".join(lines)
    assert f"source@{1:032x}" in "".join(lines)


@pytest.mark.parametrize("change", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_breaks_a_rule_is_named_and_not_served(image, tmp_path, change):
    hostile, _ = forge(image, tmp_path, change)
    done = {name: hostile.command(name) for name in ("ls -r", "cat", "tar", "verify", "gc")}

    assert {} == {name: why for name, each in done.items() if (why := problem(each))}
    assert 1 == done["verify"].status
    assert f"affects labresults@{3:032x}:a" in done["verify"].out
    assert 0 != done["cat"].status
    case = Case(tmp_path, {f"labresults@{3:032x}": {"a": b""}}, random.Random(3))
    with pytest.raises(Damaged):
        gateway(case, ref="labresults@master")


@pytest.mark.parametrize("change", CONTENT.values(), ids=CONTENT)
def test_content_that_is_not_that_of_an_entry_is_named_and_not_written(image, tmp_path, change):
    hostile, _ = forge(image, tmp_path, change)
    done = {name: hostile.command(name) for name in ("cat", "tar", "verify", "get")}

    assert {} == {name: why for name, each in done.items() if (why := problem(each))}
    assert all(each.status for each in done.values())
    assert f"affects labresults@{3:032x}:a" in done["verify"].out
    assert "a" not in os.listdir(tmp_path / "target")


PUT = {
    name: change
    for name, change in (ENTRIES | {name: change for name, (change, _) in FORGED.items()}).items()
    # A commit fills the gap, and the head is behind it. Only verify sees it.
    if "slot is missing" not in name
}


@pytest.mark.parametrize("change", PUT.values(), ids=PUT)
def test_what_is_put_into_a_forged_store_can_be_read(image, tmp_path, change):
    """Nothing is committed, or the new commit is the head, and its new file can be read."""
    hostile, _ = forge(image, tmp_path, change)
    log = hostile.run("log", "labresults").out
    done = hostile.run("put", "labresults:a0", tmp_path / "folder" / "new")

    assert problem(done) is None
    if done.status == 0:
        name = done.out.strip()
        assert "new" == hostile.run("cat", f"{name}:a0").out
        assert hostile.run("log", "labresults").out.startswith(name.rpartition("@")[2])
    else:
        assert hostile.run("log", "labresults").out == log


ILLEGAL = (
    b"a b", b"a.b", b"\xff\xfe", b"a\nb", b"\xc3\xbc", b"a" * 250 + b"~", b"\x1b[31m",
)  # fmt: skip
FOLDERS = ("repos", "repos/default", f"{LAB}/branches", f"{LAB}/branches/master", f"{LAB}/commits")


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ILLEGAL, ids=[ascii(name.decode("latin-1")) for name in ILLEGAL])
def test_an_illegal_name_in_a_listing_is_named_and_hides_nothing(image, tmp_path, folder, name):
    hostile, _ = forge(image, tmp_path, lambda _: None)
    place = os.path.join(os.fsencode(hostile.place / folder), name)
    # A folder without an object is nothing, as it is in an object store.
    os.makedirs(os.path.join(place, b"x"))
    with open(os.path.join(place, b"x", b"y"), "wb"):
        pass
    done = {each: hostile.command(each) for each in ("verify", "repos", "gc", "ls", "log", "put")}

    assert {} == {each: why for each, found in done.items() if (why := problem(found))}
    assert 1 == done["verify"].status
    assert "6 commits" in done["verify"].out
    assert ascii(os.fsdecode(name))[1:-1] in done["verify"].out
    assert "\x1b" not in done["verify"].out
