"""A hostile or damaged store: bounded work, errors that name the object, and nothing lost by gc."""

import pytest
from attacks import hostile_stores
from attacks.hostile_stores import (
    BYTES,
    COMMANDS,
    FILES,
    HINTS,
    READS,
    WRONG,
    Absent,
    changed,
    decode,
    encode,
    kind_of,
    paths,
    problem,
    put_bytes,
)

KINDS = ("blobs", "branches", "commits", "heads", "made", "segments", "trees")
DECODED = ("branches", "commits", "segments", "trees")
IN_TURN = ("ls -r", "show", "show a file", "cat", "gc")
EMPTY_CONTENT = "made"
"""Objects that have a meaning by their names only."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return hostile_stores.build(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def hostile(pristine, tmp_path):
    return hostile_stores.copy(pristine, tmp_path)


def test_every_kind_of_object_is_attacked(pristine):
    """A new kind fails here until it has a row in each table."""
    assert set(KINDS) == {kind_of(name) for name in pristine.names()}
    assert set(DECODED) == {kind for kind in KINDS if decode(pristine, kind)}


def test_a_sound_store_passes_every_command(hostile):
    assert dict.fromkeys(COMMANDS, 0) == {name: hostile.command(name).status for name in COMMANDS}


def is_a_defect(kind):
    return kind not in (HINTS, EMPTY_CONTENT)


def check(hostile, kind, name, *, commands=READS):
    """Run *commands*; check how they end, that verify names the object, and that gc keeps all."""
    before = set(hostile.names())
    problems: dict[str, object] = {}
    for command in commands:
        done = hostile.command(command)
        if found := problem(done):
            problems[command] = found
        if command == "verify" and is_a_defect(kind):
            last = name.rpartition("/")[2]
            if done.status != 1 or last not in done.out:
                problems["verify names it"] = (done.status, done.out, done.err)
        if command == "gc":
            lost = {
                each
                for each in before - set(hostile.names())
                if each.split("/")[0] in ("blobs", "segments", "trees")
            }
            if lost:
                problems["gc removed"] = sorted(lost)
    return problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", BYTES)
def test_other_bytes_under_the_name_of_an_object(hostile, kind, damage):
    name = hostile.kinds()[kind]
    data = hostile.path(name).read_bytes()
    hostile.replace(name, BYTES[damage](data))

    assert {} == check(hostile, kind, name)


@pytest.mark.parametrize("kind", ["segments", "trees"])
@pytest.mark.parametrize("damage", [each for each in BYTES if each not in ("flipped", "truncated")])
def test_other_bytes_under_an_address_that_is_right(hostile, kind, damage):
    name = put_bytes(hostile, kind, BYTES[damage](b""))

    assert {} == check(hostile, kind, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", FILES)
def test_another_file_at_the_path_of_an_object(hostile, kind, damage):
    name = hostile.kinds()[kind]
    FILES[damage](hostile.path(name))
    is_lost_log = kind == "branches" and damage in ("missing", "folder")

    problems = check(hostile, kind, name)
    if is_lost_log:
        assert 0 == problems.pop("verify names it")[0]  # the log ends one slot earlier
    assert {} == problems


def label(at):
    return "/".join(map(str, at)) or "whole"


def fields():
    """Yield each field of each kind of object that is decoded."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        built = hostile_stores.build(Path(folder))
        for kind in DECODED:
            for at in paths(decode(built, kind)):
                yield pytest.param(kind, at, id=f"{kind}:{label(at)}")


@pytest.mark.parametrize(("kind", "at"), list(fields()))
def test_a_field_with_any_wrong_value(pristine, tmp_path, kind, at):
    document = decode(pristine, kind)
    problems: dict[tuple[str, str], object] = {}
    for number, value in enumerate([*WRONG, Absent]):
        if value is Absent and not at:
            continue
        hostile = hostile_stores.copy(pristine, tmp_path / str(number))
        put_bytes(hostile, kind, encode(kind, changed(document, at, value)))
        # The commands in turn, so that each meets several values of the field.
        for command in ("verify", IN_TURN[number % len(IN_TURN)]):
            if found := problem(hostile.command(command)):
                problems[repr(value), command] = found
    assert {} == problems
