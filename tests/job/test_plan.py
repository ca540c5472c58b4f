"""Plans: resolved inputs and datums."""

import json

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.job.plan import Unrunnable, make_plan
from worker.spec.parse import parse
from worker.spec.pipeline import JobSpec


def spec(*inputs, **changes) -> JobSpec:
    return parse(json.dumps(a_job(inputs=inputs, **changes)))


def paths(plan) -> list[list[str]]:
    return [list(datum.paths.values()) for datum in plan.datums()]


FILES = {"1.csv": b"1", "2.csv": b"2", "dir/a": b"a", "dir/b": b"b", "dir-2/c": b"c"}


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("/", ["/"]),
        ("/*", ["/1.csv", "/2.csv", "/dir", "/dir-2"]),
        ("/*.csv", ["/1.csv", "/2.csv"]),
        ("/dir/*", ["/dir/a", "/dir/b"]),
        ("/dir*/*", ["/dir-2/c", "/dir/a", "/dir/b"]),
        ("/none", []),
    ],
)
def test_each_path_that_a_glob_matches_is_a_datum(store, glob, expected):
    """Sorted by path."""
    a_commit(store, FILES)
    plan = make_plan(store, spec(an_input(s3=False, glob=glob)), job=an_id())

    assert [[path] for path in expected] == paths(plan)
    assert len(expected) == plan.count


@pytest.mark.parametrize(
    ("files", "inputs", "expected"),
    [
        pytest.param(FILES, [an_input(s3=False, glob="/*.csv")], [], id="a-glob-that-matches"),
        pytest.param(FILES, [an_input()], [], id="a-bucket-with-objects"),
        pytest.param(
            FILES,
            [an_input("a", repo="labresults", s3=False, glob="/*.CSV")],
            ["input 'a': the glob '/*.CSV' matches none of the 5 files", "the job has no datum"],
            id="a-glob-that-matches-nothing",
        ),
        pytest.param({}, [an_input()], ["input 'labresults'"], id="a-bucket-without-an-object"),
        pytest.param(
            {}, [an_input(s3=False, glob="/")], ["input 'labresults'"], id="a-folder-without-a-file"
        ),
        pytest.param(
            {},
            [an_input(s3=False, glob="/*")],
            ["input 'labresults'", "the job has no datum"],
            id="a-glob-on-no-file",
        ),
    ],
)
def test_an_input_without_a_file_and_a_job_without_a_datum_are_warnings(
    store, files, inputs, expected
):
    """The plan has them, so `worker plan` shows them before anything runs."""
    a_commit(store, files)
    plan = make_plan(store, spec(*inputs), job=an_id())

    assert len(expected) == len(plan.warnings)
    assert all(map(str.startswith, plan.warnings, expected))
    assert list(plan.warnings) == plan.to_json()["warnings"]


def test_a_cross_is_the_product_of_its_inputs(store):
    """An S3 input contributes its whole commit."""
    a_commit(store, FILES)
    a_commit(store, {"x": b"x", "y": b"y"}, repo="other")
    plan = make_plan(
        store,
        spec(
            an_input("b", repo="other", s3=False, glob="/*"),
            an_input(),
            an_input("c", repo="labresults", s3=False, glob="/*.csv"),
        ),
        job=an_id(),
    )

    assert [
        ["/x", "/", "/1.csv"],
        ["/x", "/", "/2.csv"],
        ["/y", "/", "/1.csv"],
        ["/y", "/", "/2.csv"],
    ] == paths(plan)


def test_the_id_of_a_datum_depends_on_names_paths_and_contents(store):
    """Not on commits or times."""
    job = spec(an_input(s3=False, glob="/*"))
    a_commit(store, {"a": b"1", "b": b"2"})
    first = [datum.id for datum in make_plan(store, job, job=an_id()).datums()]
    a_commit(store, {"a": b"1", "b": b"other"})
    second = [datum.id for datum in make_plan(store, job, job=an_id()).datums()]

    assert first[0] == second[0]
    assert first[1] != second[1]


def test_another_salt_is_another_datum(store):
    """As in Pachyderm."""
    a_commit(store, {"a": b"1"})
    files = an_input(s3=False, glob="/*")
    jobs = [spec(files), spec(files, salt="x"), spec(files, salt="y"), spec(files, salt="x")]
    ids = [next(make_plan(store, job, job=an_id()).datums()).id for job in jobs]

    assert 3 == len(set(ids))
    assert ids[1] == ids[3]


def test_an_input_with_reference_is_left_out_of_the_ids_of_the_datums(store):
    """As in Pachyderm: another content of it makes no other datum."""
    a_commit(store, {"a": b"1", "b": b"2"})
    ids = []
    for content in (b"1", b"2"):
        a_commit(store, {"model": content}, repo="models")
        models = an_input("models", s3=False, glob="/", reference=True)
        plan = make_plan(store, spec(an_input(s3=False, glob="/*"), models), job=an_id())
        ids.append([datum.id for datum in plan.datums()])

    assert ids[0] == ids[1]
    assert 2 == len(set(ids[0]))


def test_inputs_are_pinned_to_the_head_or_to_their_commit(store):
    old = a_commit(store, {"a": b"1"})
    new = a_commit(store, {"a": b"2"})

    assert [new.name] == [i.commit.name for i in make_plan(store, spec(), job=an_id()).inputs]
    pinned = make_plan(store, spec(an_input(commit=old.name.id)), job=an_id())
    assert [old.name] == [i.commit.name for i in pinned.inputs]


def test_a_published_job_needs_no_inputs(store):
    there = a_commit(store, {"a": b"1"}, repo="copy", named=an_id())

    assert there == make_plan(store, spec(), job=there.name.id).published


def test_a_missing_input_is_unrunnable(store):
    """The message names the input and the branch, and a remedy."""
    with pytest.raises(Unrunnable, match=r"input 'labresults': labresults@master has no commit"):
        make_plan(store, spec(), job=an_id())


def test_a_plan_is_json(store):
    commit = a_commit(store, FILES)
    document = make_plan(store, spec(), job="f" * 32).to_json()

    assert str(commit.name) == document["inputs"][0]["commit"]
    assert {"labresults": "read-only", "out": "the output"} == document["buckets"]
    assert 1 == len(document["datums"])
    assert document == json.loads(json.dumps(document))
