"""The parser of job documents: every field, every error at once, and the parsed values."""

import contextlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Invalid
from worker.spec.document import DocumentErrors
from worker.spec.fields import (
    DOCUMENT,
    JOB,
    METADATA,
    NODE,
    OUTPUT,
    PFS,
    PIPELINE,
    PROJECT,
    SECRET,
    TRANSFORM,
)
from worker.spec.parse import parse
from worker.spec.pipeline import JobSpec, Metadata, Output, PfsInput, Secret, User
from worker.spec.schema import Object

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.[jy]*[nl]"))
TABLES = (DOCUMENT, JOB, METADATA, OUTPUT, PIPELINE, PROJECT, SECRET, TRANSFORM, NODE, PFS)
ID = "0123456789abcdef" * 2
VERBATIM = (
    '{"pipeline":{"name":"s3_protocol_enabled_pipeline"},"input":{"pfs":{"glob":"/",'
    '"repo":"labresults","name":"labresults","s3":true}},"transform":{"cmd":["sh"],"stdin":["set -x'
    " && mkdir -p /tmp/result && aws --endpoint-url $S3_ENDPOINT s3 ls && aws --endpoint-url"
    " $S3_ENDPOINT s3 cp s3://labresults/ /tmp/result/ --recursive && aws --endpoint-url"
    ' $S3_ENDPOINT s3 cp /tmp/result/ s3://out --recursive"],'
    '"image":"pachyderm/ubuntu-with-s3-clients:v0.0.1"},"s3Out":true}'
)


def a_document(**more):
    """Return the smallest valid document, with *more* keys at its root."""
    return {
        "pipeline": {"name": "p"},
        "input": {"pfs": {"repo": "lab", "s3": True}},
        "transform": {"cmd": ["true"]},
        **more,
    }


def parsed(**more):
    return parse(json.dumps(a_document(**more)))


def transformed(**more):
    return parsed(transform={"cmd": ["true"], **more}).transform


def errors(text):
    with pytest.raises(DocumentErrors) as caught:
        parse(text if isinstance(text, str) else json.dumps(text))
    return {problem.pointer: str(problem) for problem in caught.value.problems}


def test_a_pachyderm_pipeline_spec_is_a_job_document(tmp_path):
    """A pipeline spec without a `job` block runs unchanged."""
    path = tmp_path / "spec.json"
    path.write_text(VERBATIM)

    spec = parse(path.read_text())

    assert (
        PfsInput("labresults", "default", "labresults", "master", None, "/", s3=True) == spec.input
    )
    assert ("sh",) == spec.transform.cmd
    assert spec.transform.stdin[0].endswith("s3 cp /tmp/result/ s3://out --recursive")
    assert "pachyderm/ubuntu-with-s3-clients:v0.0.1" == spec.transform.image
    assert Output("default", "s3_protocol_enabled_pipeline", "master") == spec.output
    assert spec.s3_out
    assert spec.job_id is None
    assert ((), ()) == (spec.warnings, spec.for_scheduler)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid_without_warnings(path):
    """The documents in ``config/examples`` parse without warnings."""
    assert () == parse(path.read_text(), source=path.name).warnings


def test_omitted_fields_have_their_defaults():
    """Only the pipeline's name, the input and the command are required."""
    spec = parsed()

    expected = JobSpec(
        project="default",
        pipeline="p",
        input=PfsInput("lab", "default", "lab", "master", None, "/", s3=True),
        transform=spec.transform,
        output=Output("default", "p", "master"),
        s3_out=False,
        datum_tries=3,
        datum_timeout=None,
        job_timeout=None,
        reprocess_spec="until_success",
    )
    assert expected == spec
    assert (("true",), "", (), {}, None, None) == (
        spec.transform.cmd,
        spec.transform.image,
        spec.transform.stdin,
        spec.transform.env,
        spec.transform.user,
        spec.transform.working_dir,
    )


@pytest.mark.parametrize(
    ("document", "read", "value"),
    [
        pytest.param({"job": {"id": ID}}, lambda s: s.job_id, ID, id="job.id"),
        pytest.param({"job": {"parent": "run 7"}}, lambda s: s.parent, "run 7", id="job.parent"),
        pytest.param(
            {"job": {"output": {"repo": "r", "branch": "b", "project": "q"}}},
            lambda s: s.output,
            Output("q", "r", "b"),
            id="job.output",
        ),
        pytest.param(
            {"job": {"output": {"branch": "b"}}, "outputBranch": "c"},
            lambda s: s.output,
            Output("default", "p", "b"),
            id="job.output over outputBranch",
        ),
        pytest.param(
            {"outputBranch": "c"},
            lambda s: s.output,
            Output("default", "p", "c"),
            id="outputBranch",
        ),
        pytest.param(
            {"pipeline": {"name": "p", "project": {"name": "q"}}},
            lambda s: (s.project, s.pipeline, s.output, s.inputs[0].project),
            ("q", "p", Output("q", "p", "master"), "q"),
            id="project",
        ),
        pytest.param({"description": "why"}, lambda s: s.description, "why", id="description"),
        pytest.param(
            {"metadata": {"labels": {"a": "b"}, "annotations": {"c_d": ""}}},
            lambda s: s.metadata,
            Metadata({"a": "b"}, {"c_d": ""}),
            id="metadata",
        ),
        pytest.param({"s3Out": True}, lambda s: s.s3_out, True, id="s3Out"),
        pytest.param({"datumTries": 1}, lambda s: s.datum_tries, 1, id="datumTries"),
        pytest.param({"datumTries": "5"}, lambda s: s.datum_tries, 5, id="datumTries from pachctl"),
        pytest.param({"datumTimeout": "10m"}, lambda s: s.datum_timeout, 600, id="datumTimeout"),
        pytest.param({"jobTimeout": "1h30m"}, lambda s: s.job_timeout, 5400, id="jobTimeout"),
        pytest.param(
            {"reprocessSpec": "every_job"}, lambda s: s.reprocess_spec, "every_job", id="reprocess"
        ),
        pytest.param({"salt": "x"}, lambda s: s.salt, "x", id="salt"),
        pytest.param({"service": None, "spout": False}, lambda s: s.warnings, (), id="unused"),
    ],
)
def test_every_field_of_the_document_is_parsed(document, read, value):
    """The job has the values of the document."""
    assert value == read(parsed(**document))


@pytest.mark.parametrize(
    ("fields", "read", "value"),
    [
        pytest.param({"image": "i:1"}, lambda t: t.image, "i:1", id="image"),
        pytest.param({"cmd": ["a", ""]}, lambda t: t.cmd, ("a", ""), id="cmd"),
        pytest.param({"stdin": ["a", ""]}, lambda t: t.stdin, ("a", ""), id="stdin"),
        pytest.param(
            {"env": {"A_B": "c", "d": ""}}, lambda t: t.env, {"A_B": "c", "d": ""}, id="env"
        ),
        pytest.param(
            {"secrets": [{"name": "n", "key": "k", "envVar": "V"}]},
            lambda t: t.secrets,
            (Secret("n", "k", "V", None),),
            id="secret as a variable",
        ),
        pytest.param(
            {"secrets": [{"name": "n", "mount_path": "/etc/n"}]},
            lambda t: t.secrets,
            (Secret("n", None, None, "/etc/n"),),
            id="secret as files",
        ),
        pytest.param({"user": "lab"}, lambda t: t.user, User(name="lab"), id="user by name"),
        pytest.param({"user": "1000"}, lambda t: t.user, User(uid=1000), id="user by uid"),
        pytest.param({"user": "0:10"}, lambda t: t.user, User(uid=0, gid=10), id="uid and gid"),
        pytest.param({"workingDir": "/srv"}, lambda t: t.working_dir, "/srv", id="workingDir"),
        pytest.param({"workingDir": "srv"}, lambda t: t.working_dir, "/srv", id="below the root"),
        pytest.param(
            {"acceptReturnCode": [3, "4"]},
            lambda t: t.accept_return_code,
            (3, 4),
            id="acceptReturnCode",
        ),
        pytest.param(
            {"errCmd": ["sh"], "errStdin": ["x"]},
            lambda t: (t.err_cmd, t.err_stdin),
            (("sh",), ("x",)),
            id="errCmd and errStdin",
        ),
        pytest.param({"debug": True}, lambda t: t.debug, True, id="debug"),
        pytest.param({"datumBatching": False}, lambda t: t.debug, False, id="no datumBatching"),
    ],
)
def test_every_field_of_the_transform_is_parsed(fields, read, value):
    """The transform has the values of the document."""
    assert value == read(transformed(**fields))


INVALID_DOCUMENTS = [
    ({"pipeline": {}}, "/pipeline/name", "missing key"),
    ({"pipeline": {"name": "a b"}}, "/pipeline/name", "A–Z, a–z"),
    ({"pipeline": {"name": "p", "project": "q"}}, "/pipeline/project", "expected an object"),
    ({"pipeline": "p"}, "/pipeline", "expected an object"),
    ({"input": None}, "/input", "missing key"),
    ({"transform": None}, "/transform", "missing key"),
    ({"transform": {}}, "/transform/cmd", "missing key"),
    ({"transform": {"cmd": []}}, "/transform/cmd", 'such as ["sh"]'),
    ({"transform": {"cmd": [""]}}, "/transform/cmd/0", "the command is empty"),
    ({"transform": {"cmd": "sh"}}, "/transform/cmd", 'found the string "sh"'),
    ({"transform": {"cmd": ["sh", 5]}}, "/transform/cmd/1", "put it in quotes"),
    ({"job": {"id": "x"}}, "/job/id", "32 hex digits"),
    ({"job": {"id": ID.upper()}}, "/job/id", "lower case"),
    ({"job": {"output": {"branch": ID}}}, "/job/output/branch", "1 to 255"),
    ({"job": {"parent": 5}}, "/job/parent", "put it in quotes"),
    ({"description": 5}, "/description", "put it in quotes"),
    ({"metadata": {"labels": {"a": 1}}}, "/metadata/labels/a", "put it in quotes"),
    ({"s3Out": "yes"}, "/s3Out", "expected true or false"),
    ({"datumTries": -1}, "/datumTries", "from 1 to 1000"),
    ({"datumTries": 1.5}, "/datumTries", "an integer"),
    ({"datumTries": True}, "/datumTries", "an integer"),
    ({"datumTimeout": 600}, "/datumTimeout", 'for 600 seconds write "600s"'),
    ({"datumTimeout": "0s"}, "/datumTimeout", "a positive duration"),
    ({"jobTimeout": "2 hours"}, "/jobTimeout", "a positive duration"),
    ({"reprocessSpec": "never"}, "/reprocessSpec", '"until_success" or "every_job"'),
    ({"salt": 1}, "/salt", "put it in quotes"),
    ({"service": {"type": "NodePort"}}, "/service", "services are not supported"),
    ({"spout": {"service": {}}}, "/spout", "spouts are not supported"),
    (
        {"service": {"type": "x"}, "s3Out": True},
        "/s3Out",
        "`s3Out` cannot be combined with `service`",
    ),
    ({"spout": {"a": 1}, "s3_out": True}, "/s3_out", "`s3Out` cannot be combined with `spout`"),
    ({"egress": {"URL": "s3://b"}}, "/egress", "`egress` is not supported"),
    ({"tfJob": {"tfJob": "x"}}, "/tfJob", "`tfJob` is not supported"),
    ({"s3Output": True}, "/s3Output", "did you mean `s3Out`?"),
    ({"s3out": True}, "/s3out", "did you mean `s3Out`?"),
    ({"datum_trys": 3}, "/datum_trys", "did you mean `datum_tries`?"),
    ({"zzz": 3}, "/zzz", "known keys: `job`, `pipeline`"),
    ({"s3_out": True, "s3Out": True}, "/s3Out", "duplicate of `s3_out`"),
    ({"a/b": 1}, "/a~1b", "unknown key"),
]


@pytest.mark.parametrize(
    ("document", "pointer", "reason"),
    INVALID_DOCUMENTS,
    ids=[f"{pointer} {reason}" for _, pointer, reason in INVALID_DOCUMENTS],
)
def test_an_invalid_document_is_an_error_at_its_key(document, pointer, reason):
    """Each error has the JSON pointer of the key, and what is expected."""
    assert reason in errors(a_document(**document))[pointer]


INVALID_TRANSFORMS = [
    ({"stdin": "sh"}, "/stdin", "expected a list of lines"),
    ({"env": {"A": 1}}, "/env/A", "put it in quotes"),
    ({"env": {"": "x"}}, "/env/", "the name of a variable"),
    ({"env": {"A=B": "x"}}, "/env/A", "letters, digits and _"),
    ({"env": {"A\nB": "x"}}, "/env/A\nB", "letters, digits and _"),
    ({"env": {"#A": "x"}}, "/env/#A", "letters, digits and _"),
    ({"env": {"1A": "x"}}, "/env/1A", "letters, digits and _"),
    ({"env": {"": "x"}}, "/env/", "letters, digits and _"),
    (
        {"secrets": [{"name": "n", "key": "k", "envVar": "A\nB"}]},
        "/secrets/0/envVar",
        "letters, digits and _",
    ),
    ({"env": {"A": None}}, "/env/A", "expected a string"),
    ({"secrets": [{"envVar": "A"}]}, "/secrets/0/name", "missing key"),
    ({"secrets": [{"name": "n", "envVar": "A"}]}, "/secrets/0/key", "no source"),
    ({"secrets": [{"name": "n", "key": "k"}]}, "/secrets/0", "no destination"),
    ({"secrets": [{"name": "../n", "mountPath": "/n"}]}, "/secrets/0/name", "A–Z"),
    ({"secrets": [{"name": "..", "mountPath": "/n"}]}, "/secrets/0/name", "A–Z"),
    ({"secrets": [{"name": "n", "mountPath": "n"}]}, "/secrets/0/mountPath", "absolute"),
    ({"secrets": [{"name": "n", "mountPath": "/../n"}]}, "/secrets/0/mountPath", "without .."),
    ({"user": 1000}, "/user", "put it in quotes"),
    ({"user": "a:b"}, "/user", '"uid:gid"'),
    ({"user": "4294967295"}, "/user", "ids up to 4294967294"),
    ({"acceptReturnCode": 3}, "/acceptReturnCode", "a list of exit codes"),
    ({"acceptReturnCode": [256]}, "/acceptReturnCode/0", "from 0 to 255"),
    ({"errCmd": "sh"}, "/errCmd", "a list of arguments"),
    ({"debug": 1}, "/debug", "true or false"),
    ({"datumBatching": True}, "/datumBatching", "not supported"),
    ({"workdir": "/"}, "/workdir", "did you mean `workingDir`?"),
]


@pytest.mark.parametrize(
    ("fields", "pointer", "reason"),
    INVALID_TRANSFORMS,
    ids=[f"{pointer} {reason}" for _, pointer, reason in INVALID_TRANSFORMS],
)
def test_an_invalid_transform_is_an_error_at_its_key(fields, pointer, reason):
    """Each error has the JSON pointer of the key, and what is expected."""
    found = errors(a_document(transform={"cmd": ["true"], **fields}))

    assert reason in found["/transform" + pointer]


def test_all_errors_are_reported_at_once():
    """The message lists every error with its pointer."""
    document = {
        "pipeline": {"nam": "p"},
        "input": {"pfs": {"repo": "lab", "s3": True, "glob": "/*"}},
        "transform": {"cmd": [], "stdin": [7]},
    }

    with pytest.raises(Invalid) as caught:
        parse(json.dumps(document), source="job.json")

    expected = (
        "job.json: 5 errors\n"
        "  /pipeline/nam: unknown key; did you mean `name`?\n"
        "  /pipeline/name: missing key; expected the name of the pipeline and of its output repo\n"
        "  /transform/cmd: found an empty list; expected the command and its arguments, such as "
        '["sh"]\n'
        "  /transform/stdin/0: found the number 7; expected a line of text: put it in quotes\n"
        '  /input/pfs/glob: an S3 input is one datum, so its glob must be "/"; found "/*"'
    )
    assert expected == str(caught.value)


def test_a_message_has_no_control_characters():
    """Control characters of the document are escaped, so a terminal does not interpret them."""
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(a_document(**{"\x1b[2J": 1, "reprocessSpec": "\x1b[2J\x9b"})))

    assert "\x1b" not in str(caught.value)
    assert "\x9b" not in str(caught.value)


def test_a_message_repeats_no_values_of_variables():
    """The value may be a secret."""
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(a_document(transform={"cmd": ["x"], "env": {"PASSWORD": 4711}})))

    assert "4711" not in str(caught.value)


def test_a_message_is_limited_to_a_hundred_errors():
    """The exception holds a thousand, so that their pointers do not fill the memory."""
    document = a_document(**{f"key{n}": n for n in range(5000)})

    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(document))

    assert 1000 == len(caught.value.problems)
    assert "the job document: at least 1000 errors" == str(caught.value).splitlines()[0]
    assert "and 900 more" == str(caught.value).splitlines()[-1].strip()


@pytest.mark.parametrize("text", ["[]", '"x"', "5", "null", "just text"])
def test_a_document_must_be_an_object(text):
    """Any other value is an error at the root."""
    assert ": found" in errors(text)[""]


def test_camel_case_and_snake_case_are_the_same_key():
    """A document with all keys in snake_case has the same values."""
    path = next(path for path in EXAMPLES if path.name == "everything.yaml")
    text = path.read_text()
    spellings = {field.name: field.snake_name for table in TABLES for field in table.fields}
    for name, snake_name in spellings.items():
        text = text.replace(f"{name}:", f"{snake_name}:")

    camel, snake = parse(path.read_text()), parse(text)

    assert "s3_out:" in text
    assert attrs.evolve(camel, for_scheduler=()) == attrs.evolve(snake, for_scheduler=())
    assert len(camel.for_scheduler) == len(snake.for_scheduler)


def test_keys_of_string_maps_are_kept_unchanged():
    """Only known keys have two spellings."""
    assert {"my_var": "1", "myVar": "2"} == transformed(env={"my_var": "1", "myVar": "2"}).env


def test_keys_for_the_scheduler_are_listed_and_not_parsed():
    """Keys that only a scheduler can honour accept any value."""
    spec = parsed(
        parallelismSpec={"constant": "1"},
        resource_limits=5,
        podPatch="[]",
        autoscaling=None,
        transform={"cmd": ["true"], "imagePullSecrets": ["x"]},
    )

    expected = {
        "/parallelismSpec",
        "/resource_limits",
        "/podPatch",
        "/transform/imagePullSecrets",
    }
    assert expected == set(spec.for_scheduler)


def test_err_stdin_without_err_cmd_is_a_warning():
    """Nothing reads `errStdin` without `errCmd`."""
    (problem,) = parsed(transform={"cmd": ["true"], "errStdin": ["x"]}).warnings

    assert "/transform/errStdin" == problem.pointer


def test_the_document_as_run_is_a_valid_document():
    """The recorded document parses to the same job."""
    for path in EXAMPLES:
        spec = parse(path.read_text())
        again = parse(json.dumps(spec.document))

        assert spec.document == again.document
        assert spec.inputs == again.inputs
        assert spec.transform == again.transform


def test_the_document_as_run_has_no_job_block_and_no_keys_for_the_scheduler():
    """It holds only what the run honours, with defaults filled in."""
    spec = parsed(job={"id": ID}, podPatch="[]", datumTimeout="90m")

    expected = {
        "pipeline": {"project": {"name": "default"}, "name": "p"},
        "input": {
            "pfs": {
                "project": "default",
                "repo": "lab",
                "branch": "master",
                "name": "lab",
                "glob": "/",
                "s3": True,
                "emptyFiles": False,
                "reference": False,
            }
        },
        "transform": {"cmd": ["true"], "debug": False},
        "s3Out": False,
        "outputBranch": "master",
        "datumTries": 3,
        "datumTimeout": "5400s",
        "reprocessSpec": "until_success",
    }
    assert expected == spec.document


def test_only_s3_inputs_and_s3_out_require_a_gateway():
    """A job with file inputs and file output has no buckets."""
    files = {"pfs": {"repo": "lab", "glob": "/"}}

    assert parsed().serves_s3
    assert parsed(input=files, s3Out=True).serves_s3
    assert not parsed(input=files).serves_s3


KEYS = sorted(
    {name for table in TABLES for field in table.fields for name in (field.name, field.snake_name)}
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["/", "/*", "out", "a", "1h", "", "-1", ID, "a/b", "\x00", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)


@given(JSON, st.sampled_from([None, *KEYS]))
def test_any_json_is_a_job_or_errors(value, key):
    """Any value at any key parses or raises `DocumentErrors`."""
    document = value if key is None else a_document(**{key: value})
    with contextlib.suppress(DocumentErrors):
        spec = parse(json.dumps(document))
        assert spec.document == parse(json.dumps(spec.document)).document


@given(st.data())
def test_any_change_of_a_value_is_a_job_or_errors(data):
    """Any replacement of one value in a valid document parses or raises `DocumentErrors`."""
    document = json.loads(json.dumps(parse(EXAMPLES[0].read_text()).document))
    node = document
    while isinstance(node, dict | list) and node and data.draw(st.booleans()):
        step = data.draw(
            st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node)))
        )
        if not isinstance(node[step], dict | list) or data.draw(st.booleans()):
            node[step] = data.draw(JSON)
            break
        node = node[step]
    try:
        problems = parse(json.dumps(document)).warnings
    except DocumentErrors as error:
        problems = error.problems

    assert all(str(problem) for problem in problems)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_any_text_is_a_job_or_errors(text):
    """No text raises another exception."""
    try:
        problems = parse(text).warnings
    except DocumentErrors as error:
        problems = error.problems

    assert all(str(problem) for problem in problems)


ZEROS = [None, False, 0, "", [], {}]


@pytest.mark.parametrize("zero", ZEROS, ids=repr)
@pytest.mark.parametrize("table", [DOCUMENT, TRANSFORM], ids=["document", "transform"])
def test_a_zero_value_of_any_key_is_that_of_a_key_that_was_not_given(table, zero):
    """Of those that are honoured, for the scheduler, and rejected; defaults are filled in."""
    for field in table.fields:
        # An empty message is one that was given, such as "spout": {}.
        if field.required or (zero == {} and isinstance(field.schema, Object) and field.rejected):
            continue
        for name in (field.name, field.snake_name):
            given = {name: zero}
            found = transformed(**given) if table is TRANSFORM else parsed(**given)
            assert found == (transformed() if table is TRANSFORM else parsed()), name


def test_a_number_as_text_may_be_zero():
    """The JSON mapping of protocol buffers writes 64-bit integers as text."""
    assert 3 == parsed(datumTries="0").datum_tries
