"""The inputs of a job: every error, warning and default."""

import copy
import json

import pytest

from worker.spec.document import DocumentErrors
from worker.spec.fields import PFS
from worker.spec.parse import parse
from worker.spec.pipeline import CrossInput, PfsInput

FILES = {"repo": "files", "glob": "/*"}
BUCKET = {"repo": "bucket", "s3": True}


def a_document(node, **more):
    return {"pipeline": {"name": "p"}, "input": node, "transform": {"cmd": ["true"]}, **more}


def parsed(node, **more):
    return parse(json.dumps(a_document(node, **more)))


def errors(node):
    with pytest.raises(DocumentErrors) as caught:
        parsed(node)
    return {problem.pointer: str(problem) for problem in caught.value.problems}


def pfs(**fields):
    return {"pfs": fields}


@pytest.mark.parametrize(
    ("node", "pointer", "reason"),
    [
        pytest.param(pfs(glob="/"), "/pfs/repo", "missing key", id="no repo"),
        pytest.param(pfs(repo="", glob="/"), "/pfs/repo", "an empty string", id="empty repo"),
        pytest.param(pfs(repo="a/b", glob="/"), "/pfs/repo", "A–Z, a–z", id="repo with a slash"),
        pytest.param(
            pfs(**FILES, branch="0" * 32),
            "/pfs/branch",
            "pinned by `commit`",
            id="commit as branch",
        ),
        pytest.param(pfs(**FILES, commit="abc"), "/pfs/commit", "32 hex", id="short commit"),
        pytest.param(pfs(**FILES, commit="A" * 32), "/pfs/commit", "lower case", id="upper commit"),
        pytest.param(
            pfs(repo="out", glob="/"), "/pfs/repo", "reserved for the output", id="repo named out"
        ),
        pytest.param(pfs(repo="a"), "/pfs/glob", "requires a glob", id="no glob on files"),
        pytest.param(
            pfs(repo="a", glob=""), "/pfs/glob", "requires a glob", id="empty glob on files"
        ),
        pytest.param(
            pfs(repo="a", glob="/[a"), "/pfs/glob", "`[` is not closed", id="invalid glob"
        ),
        pytest.param(
            pfs(**BUCKET, glob="/*"),
            "/pfs/glob",
            'an S3 input is one datum, so its glob must be "/"; found "/*"',
            id="s3 with another glob",
        ),
        pytest.param(pfs(**BUCKET, lazy=True), "/pfs/lazy", "cannot be lazy", id="s3 and lazy"),
        pytest.param(
            pfs(**BUCKET, emptyFiles=True), "/pfs/emptyFiles", "no files", id="s3 and emptyFiles"
        ),
        pytest.param(pfs(**FILES, lazy=True), "/pfs/lazy", "not supported", id="lazy files"),
        pytest.param(pfs(**FILES, joinOn="$1"), "/pfs/joinOn", "below `join`", id="joinOn"),
        pytest.param(pfs(**FILES, group_by="$1"), "/pfs/group_by", "below `join`", id="group_by"),
        pytest.param(pfs(**FILES, outerJoin=True), "/pfs/outerJoin", "below", id="outerJoin"),
        pytest.param(pfs(**FILES, repoType="meta"), "/pfs/repoType", "`user`", id="repoType"),
        *(
            pytest.param(
                {kind: [pfs(**BUCKET), pfs(**FILES)]},
                f"/{kind}/0/pfs/s3",
                f"an S3 input is not allowed below `{kind}`",
                id=f"s3 below {kind}",
            )
            for kind in ("join", "group", "union")
        ),
        pytest.param(
            {"union": [{"cross": [pfs(**BUCKET), pfs(**FILES)]}]},
            "/union/0/cross/0/pfs/s3",
            "an S3 input is not allowed below `union`",
            id="s3 far below union",
        ),
        *(
            pytest.param(
                {kind: [pfs(**FILES)]}, f"/{kind}", f"`{kind}` inputs are not supported", id=kind
            )
            for kind in ("join", "group", "union")
        ),
        pytest.param(
            {"cron": {"name": "t", "spec": "@daily"}},
            "/cron",
            "`cron` inputs are not supported",
            id="cron",
        ),
        pytest.param({}, "", "found no input", id="no kind"),
        pytest.param(
            {"pfs": FILES, "cross": [pfs(**BUCKET)]}, "", "2 kinds of input", id="two kinds"
        ),
        pytest.param({"pfs": ["a"]}, "/pfs", "found a list", id="a list as pfs"),
        pytest.param([], "", "found a list", id="a list as input"),
        pytest.param({"cross": []}, "", "found no input", id="empty cross"),
        pytest.param(
            {"cross": {"pfs": FILES}}, "/cross", "no list of inputs", id="cross of an object"
        ),
        pytest.param({"pfs": None}, "", "found no input", id="null kind"),
        pytest.param({"psf": FILES}, "/psf", "did you mean `pfs`?", id="misspelled kind"),
        pytest.param(pfs(**FILES, name="out"), "/pfs/name", '"out" is reserved', id="named out"),
        pytest.param(
            pfs(**BUCKET, name="out"), "/pfs/name", '"out" is reserved', id="s3 named out"
        ),
        pytest.param(pfs(**FILES, name=".env"), "/pfs/name", '".env" is reserved', id="named .env"),
        pytest.param(pfs(**FILES, name=".."), "/pfs/name", "cannot name an input", id="named .."),
        pytest.param(
            pfs(**FILES, name="../x"), "/pfs/name", "cannot name an input", id="a path as name"
        ),
        pytest.param(
            pfs(**FILES, name="a=b"), "/pfs/name", "cannot name an input", id="name with ="
        ),
        pytest.param(
            pfs(**FILES, name="a\x1b"), "/pfs/name", "cannot name an input", id="name with escape"
        ),
        pytest.param(pfs(**FILES, name="e" * 256), "/pfs/name", "1 to 255", id="name too long"),
        pytest.param(
            {"cross": [pfs(**FILES), pfs(**FILES)]},
            "/cross/1/pfs/name",
            'the name "files" is already used by /input/cross/0/pfs',
            id="the same name twice",
        ),
    ],
)
def test_an_invalid_input_is_an_error_at_its_key(node, pointer, reason):
    """Each error has the JSON pointer of the key and the reason."""
    found = errors(node)

    assert reason in found["/input" + pointer]


BAD_BUCKETS = [
    "ab",
    "a" * 64,
    "Lab",
    "lab_results",
    "-lab",
    "lab-",
    "xn--lab",
    "lab--x-s3",
    "lab--ol-s3",
    "lab-s3alias",
]


@pytest.mark.parametrize("name", BAD_BUCKETS)
def test_an_s3_input_whose_name_is_no_bucket_name_is_a_warning(name):
    """Pachyderm serves it; the warning names clients that do not accept it, and a remedy."""
    problem = next(
        each for each in parsed(pfs(**BUCKET, name=name)).warnings if "bucket" in each.reason
    )

    assert "/input/pfs/name" == problem.pointer
    assert "S3A, minio-py" in problem.expected
    assert problem.expected.endswith('"')


@pytest.mark.parametrize("name", ["lab.results", ".lab", "läb", "lab\n", "lab results", "a/b", "é"])
def test_a_name_outside_of_the_alphabet_of_pachyderm_is_an_error(name):
    """Also of an S3 input."""
    assert ["/input/pfs/name"] == list(errors(pfs(**BUCKET, name=name)))


@pytest.mark.parametrize("name", ["lab", "1ab", "a" * 63])
def test_the_name_of_a_bucket_is_no_warning_of_its_own(name):
    found = parsed(pfs(**BUCKET, name=name))

    assert name == found.inputs[0].name
    assert [] == [each for each in found.warnings if "bucket" in each.reason]


def test_a_name_that_is_filled_in_from_the_repo_is_at_the_repo():
    """The document has no other key to point at."""
    problem = parsed(pfs(repo="Lab_Results", s3=True)).warnings[0]

    assert "/input/pfs/repo" == problem.pointer
    assert 'such as "lab-results"' in problem.expected


ZEROS = [None, False, 0, "", [], {}]


@pytest.mark.parametrize("zero", ZEROS, ids=repr)
@pytest.mark.parametrize("key", sorted({field.name for field in PFS.fields} - {"repo", "s3"}))
def test_a_zero_value_is_that_of_a_key_that_was_not_given(key, zero):
    """As in proto3, in which Pachyderm's pipelines are stored and printed."""
    assert parsed(pfs(**BUCKET)) == parsed(pfs(**BUCKET, **{key: zero}))


def test_an_invalid_value_causes_no_further_errors():
    """Fields that depend on an invalid value are not checked against it."""
    node = pfs(repo=5, s3="yes", glob="/*", branch="a b", commit=1)

    expected = {f"/input/pfs/{key}" for key in ("repo", "s3", "branch", "commit")}
    assert expected == set(errors(node))


def test_omitted_fields_have_their_defaults():
    """Branch, name, project and the glob of an S3 input are optional."""
    expected = PfsInput(
        name="bucket",
        project="lab",
        repo="bucket",
        branch="master",
        commit=None,
        glob="/",
        s3=True,
    )
    assert (
        expected == parsed(pfs(**BUCKET), pipeline={"name": "p", "project": {"name": "lab"}}).input
    )


def test_every_field_of_an_input_is_parsed():
    """The parsed input has the values of the document."""
    node = pfs(
        project="q",
        repo="r",
        branch="b",
        commit="0" * 32,
        name="n",
        glob="x//y/",
        s3=False,
        empty_files=True,
        lazy=False,
        outer_join=False,
        repo_type="user",
    )

    expected = PfsInput("n", "q", "r", "b", "0" * 32, "/x/y", s3=False, empty_files=True)
    assert expected == parsed(node).input


def test_a_repo_named_out_is_accepted_with_another_name():
    """Only the name of the input is reserved."""
    assert "results" == parsed(pfs(repo="out", glob="/", name="results")).inputs[0].name


def test_null_is_equivalent_to_an_omitted_key():
    """A null key has its default."""
    node = pfs(**BUCKET, commit=None, branch=None, name=None, glob=None)

    assert parsed(pfs(**BUCKET)).input == parsed(node).input


def test_the_inputs_of_a_cross_are_in_document_order():
    """Inputs are ordered from left to right, nested crosses included."""
    node = {"cross": [pfs(repo="one", glob="/"), {"cross": [pfs(**BUCKET), pfs(**FILES)]}]}

    spec = parsed(node)

    assert isinstance(spec.input, CrossInput)
    assert ["one", "bucket", "files"] == [each.name for each in spec.inputs]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("lab-results", '"lab-results" is not a valid name of a shell variable'),
        ("1st", '"1st" is not a valid name of a shell variable'),
        ("PATH", 'the variable "PATH" has a meaning'),
        ("HOME", 'the variable "HOME" has a meaning'),
        ("S3_ENDPOINT", 'the variable "S3_ENDPOINT" has a meaning'),
        ("AWS_REGION", 'the variable "AWS_REGION" has a meaning'),
        ("LD_PRELOAD", 'the variable "LD_PRELOAD" has a meaning'),
        ("http_proxy", 'the variable "http_proxy" has a meaning'),
    ],
)
def test_a_name_that_is_a_problematic_variable_is_a_warning(name, warning):
    """The variable is not set."""
    (problem,) = parsed(pfs(**FILES, name=name)).warnings

    assert "/input/pfs/name" == problem.pointer
    assert warning in problem.reason


def test_a_name_that_is_the_commit_variable_of_another_input_is_a_warning():
    """`a_COMMIT` holds the commit of the input `a`."""
    node = {"cross": [pfs(**FILES, name="a"), pfs(repo="x", glob="/", name="a_COMMIT")]}

    (problem,) = parsed(node).warnings

    assert "/input/cross/1/pfs/name" == problem.pointer


@pytest.mark.parametrize("name", ["labresults", "lab_results", "AWSOME", "paths"])
def test_an_ordinary_name_has_no_warning(name):
    """A name that only resembles a known variable has no warning."""
    assert () == parsed(pfs(**FILES, name=name)).warnings


def test_a_trigger_is_for_the_scheduler():
    """The worker does not start jobs."""
    node = copy.deepcopy(pfs(**FILES, trigger={"branch": "master"}))

    assert ("/input/pfs/trigger",) == parsed(node).for_scheduler
