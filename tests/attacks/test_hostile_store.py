"""A hostile or damaged store: bounded work, errors that name the object, and nothing lost by gc."""

import tempfile
from pathlib import Path

import pytest
from attacks import hostile_stores
from attacks.hostile_stores import (
    BYTES,
    COMMANDS,
    FILES,
    HINTS,
    IN_MEMORY,
    READS,
    WRONG,
    Absent,
    Completed,
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
UP_TO_ITS_LIMIT = ("verify", "cat", "gc")
"""The commands on an object that is read up to its limit, which takes a while."""
SUCCESS, DEFECTS, DAMAGED = 0, 1, 69
SOUND = Completed(SUCCESS, "", "")


@pytest.fixture(scope="module")
def pristine():
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield hostile_stores.build(Path(folder))


@pytest.fixture
def hostile(pristine):
    """The store, which all tests share; each gets it as it was built."""
    pristine.restore()
    return pristine


def test_every_kind_of_object_is_attacked(hostile):
    """A new kind fails here until it has a row in each table."""
    assert set(KINDS) == {kind_of(name) for name in hostile.names()}
    assert set(DECODED) == {kind for kind in KINDS if decode(hostile, kind)}


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
            if done.status != DEFECTS or last not in done.out:
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
def test_an_object_with_other_bytes_is_named_and_nothing_is_lost(hostile, kind, damage):
    name = hostile.kinds()[kind]
    data = hostile.path(name).read_bytes()
    hostile.replace(name, BYTES[damage](data))

    assert {} == check(hostile, kind, name)


@pytest.mark.parametrize("kind", ["segments", "trees"])
@pytest.mark.parametrize("damage", [each for each in BYTES if each not in ("flipped", "truncated")])
def test_other_bytes_under_an_address_that_is_right_are_named_and_nothing_is_lost(
    hostile, kind, damage
):
    name = put_bytes(hostile, kind, BYTES[damage](b""))

    assert {} == check(hostile, kind, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", FILES)
def test_another_file_at_the_path_of_an_object_is_named_and_not_opened(hostile, kind, damage):
    name = hostile.kinds()[kind]
    FILES[damage](hostile.path(name))
    is_lost_log = kind == "branches" and damage in ("missing", "folder")

    problems = check(hostile, kind, name, commands=UP_TO_ITS_LIMIT if damage == "8 TiB" else READS)
    if is_lost_log:
        assert 0 == problems.pop("verify names it")[0]  # the log ends one slot earlier
    assert {} == problems


def label(at):
    return "/".join(map(str, at)) or "whole"


def fields():
    """Yield each field of each kind of object that is decoded."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        built = hostile_stores.build(Path(folder))
        for kind in DECODED:
            for at in paths(decode(built, kind)):
                yield pytest.param(kind, at, id=f"{kind}:{label(at)}")


def named_in(message):
    """Return the last part of the name of the object that an error names."""
    *_, last = message.splitlines()
    return last.removeprefix("worker: ").partition(":")[0].rpartition("/")[2]


@pytest.mark.parametrize(("kind", "at"), list(fields()))
def test_a_field_with_a_wrong_value_is_named_by_verify_if_a_command_fails(hostile, kind, at):
    """Some fields can have any value."""
    document = decode(hostile, kind)
    is_of_job = kind == "commits" and at[:1] == ("job",) and len(at) > 1
    problems: dict[tuple[str, str], object] = {}
    for number, value in enumerate([*WRONG, Absent]):
        if value is Absent and not at:
            continue
        put_bytes(hostile, kind, encode(kind, changed(document, at, value)))
        # The commands in turn, so that each meets several values of the field.
        command = "show" if is_of_job else IN_TURN[number % len(IN_TURN)]
        done = hostile.command(command)
        # Verify reads no record of a job, which can have any value of JSON.
        verified = SOUND if is_of_job and not done.status else hostile.command("verify")
        for each, found in (("verify", problem(verified)), (command, problem(done))):
            if found:
                problems[repr(value), each] = found
        if verified.status == SUCCESS and done.status != SUCCESS:
            problems[repr(value), f"{command} fails, and verify does not"] = done.err
        if done.status == DAMAGED and named_in(done.err) not in verified.out:
            problems[repr(value), "verify does not name it"] = (verified.out, done.err)
        hostile.restore()
    assert {} == problems
