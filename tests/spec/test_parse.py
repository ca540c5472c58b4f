"""The job document as a whole: every field, every mistake at once, and what it becomes."""

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Invalid
from worker.spec.document import DocumentErrors
from worker.spec.fields import DOCUMENT, JOB, METADATA, OUTPUT, PIPELINE, PROJECT, SECRET, TRANSFORM
from worker.spec.inputs import NODE, PFS
from worker.spec.parse import parse
from worker.spec.pipeline import JobSpec, Metadata, Output, PfsInput, Secret, User
from worker.spec.schema import snake_case

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
    """Return the smallest document, with *more* at its top."""
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


def mistakes(text):
    with pytest.raises(DocumentErrors) as caught:
        parse(text if isinstance(text, str) else json.dumps(text))
    return {problem.pointer: str(problem) for problem in caught.value.problems}


def test_takes_a_plain_pipeline_spec_from_a_file(tmp_path):
    """A Pachyderm pipeline spec without a `job` block is a job as it stands."""
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
def test_takes_every_example(path):
    """Every example is a job, and nothing is to be warned about."""
    assert () == parse(path.read_text(), source=path.name).warnings


def test_there_are_examples():
    """A README's example, a cross, and one with everything."""
    names = {path.name for path in EXAMPLES}

    assert names >= {"labresults.json", "cross.yaml", "everything.yaml"}


def test_the_smallest_document_has_the_defaults():
    """All but the pipeline's name, the input and the command may be left out."""
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
def test_keeps_every_field_of_the_document(document, read, value):
    """What was given is what the job has."""
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
def test_keeps_every_field_of_the_transform(fields, read, value):
    """What was given is what the transform has."""
    assert value == read(transformed(**fields))


@pytest.mark.parametrize(
    ("document", "pointer", "reason"),
    [
        ({"pipeline": {}}, "/pipeline/name", "the key is missing"),
        ({"pipeline": {"name": "a b"}}, "/pipeline/name", "A–Z, a–z"),
        ({"pipeline": {"name": "p", "project": "q"}}, "/pipeline/project", "expected an object"),
        ({"pipeline": "p"}, "/pipeline", "expected an object"),
        ({"input": None}, "/input", "the key is missing"),
        ({"transform": None}, "/transform", "the key is missing"),
        ({"transform": {}}, "/transform/cmd", "the key is missing"),
        ({"transform": {"cmd": []}}, "/transform/cmd", 'such as ["sh"]'),
        ({"transform": {"cmd": [""]}}, "/transform/cmd/0", "the command is empty"),
        ({"transform": {"cmd": "sh"}}, "/transform/cmd", 'found the text "sh"'),
        ({"transform": {"cmd": ["sh", 5]}}, "/transform/cmd/1", "put it in quotes"),
        ({"job": {"id": "x"}}, "/job/id", "32 hex digits"),
        ({"job": {"id": ID.upper()}}, "/job/id", "lower case"),
        ({"job": {"output": {"repo": ""}}}, "/job/output/repo", "an empty text"),
        ({"job": {"output": {"branch": ID}}}, "/job/output/branch", "1 to 255"),
        ({"job": {"parent": 5}}, "/job/parent", "put it in quotes"),
        ({"description": 5}, "/description", "put it in quotes"),
        ({"metadata": {"labels": {"a": 1}}}, "/metadata/labels/a", "put it in quotes"),
        ({"metadata": {"labels": []}}, "/metadata/labels", "an object of texts"),
        ({"s3Out": "yes"}, "/s3Out", "expected true or false"),
        ({"outputBranch": ""}, "/outputBranch", "an empty text"),
        ({"datumTries": 0}, "/datumTries", "from 1 to 1000"),
        ({"datumTries": 1.5}, "/datumTries", "a whole number"),
        ({"datumTries": True}, "/datumTries", "a whole number"),
        ({"datumTimeout": 600}, "/datumTimeout", 'for 600 seconds write "600s"'),
        ({"datumTimeout": "0s"}, "/datumTimeout", "a positive duration"),
        ({"jobTimeout": "2 hours"}, "/jobTimeout", "a positive duration"),
        ({"reprocessSpec": "never"}, "/reprocessSpec", '"until_success" or "every_job"'),
        ({"salt": 1}, "/salt", "put it in quotes"),
        ({"service": {}}, "/service", "services are not supported"),
        ({"spout": {}}, "/spout", "spouts are not supported"),
        ({"service": {}, "s3Out": True}, "/s3Out", "`s3Out` cannot go with `service`"),
        ({"spout": {}, "s3_out": True}, "/s3_out", "`s3Out` cannot go with `spout`"),
        ({"egress": {"URL": "s3://b"}}, "/egress", "`egress` is not supported"),
        ({"tfJob": {}}, "/tfJob", "`tfJob` is not supported"),
        ({"s3Output": True}, "/s3Output", "did you mean `s3Out`?"),
        ({"s3out": True}, "/s3out", "did you mean `s3Out`?"),
        ({"datum_trys": 3}, "/datum_trys", "did you mean `datum_tries`?"),
        ({"zzz": 3}, "/zzz", "known here: `job`, `pipeline`"),
        ({"s3_out": True, "s3Out": True}, "/s3Out", "the same as `s3_out`"),
        ({"a/b": 1}, "/a~1b", "the key is unknown"),
    ],
)
def test_refuses_what_a_document_cannot_have(document, pointer, reason):
    """Each field that cannot be honoured is refused at its place, with what would be right."""
    assert reason in mistakes(a_document(**document))[pointer]


@pytest.mark.parametrize(
    ("fields", "pointer", "reason"),
    [
        ({"stdin": "sh"}, "/stdin", "expected a list of lines"),
        ({"env": {"A": 1}}, "/env/A", "put it in quotes"),
        ({"env": {"": "x"}}, "/env/", "the name of a variable"),
        ({"env": {"A=B": "x"}}, "/env/A=B", "without ="),
        ({"env": {"A": None}}, "/env/A", "expected text"),
        ({"secrets": {}}, "/secrets", "expected a list"),
        ({"secrets": [{"envVar": "A"}]}, "/secrets/0/name", "the key is missing"),
        ({"secrets": [{"name": "n", "envVar": "A"}]}, "/secrets/0/key", "no source"),
        ({"secrets": [{"name": "n", "key": "k"}]}, "/secrets/0", "goes nowhere"),
        ({"secrets": [{"name": "../n", "mountPath": "/n"}]}, "/secrets/0/name", "A–Z"),
        ({"secrets": [{"name": "..", "mountPath": "/n"}]}, "/secrets/0/name", "A–Z"),
        ({"secrets": [{"name": "n", "mountPath": "n"}]}, "/secrets/0/mountPath", "absolute"),
        ({"secrets": [{"name": "n", "mountPath": "/../n"}]}, "/secrets/0/mountPath", "without .."),
        ({"user": 1000}, "/user", "put it in quotes"),
        ({"user": "a:b"}, "/user", '"uid:gid"'),
        ({"user": "4294967295"}, "/user", "ids up to 4294967294"),
        ({"workingDir": ""}, "/workingDir", "an empty text"),
        ({"acceptReturnCode": 3}, "/acceptReturnCode", "a list of exit codes"),
        ({"acceptReturnCode": [256]}, "/acceptReturnCode/0", "from 0 to 255"),
        ({"errCmd": "sh"}, "/errCmd", "a list of arguments"),
        ({"debug": 1}, "/debug", "true or false"),
        ({"datumBatching": True}, "/datumBatching", "not supported"),
        ({"workdir": "/"}, "/workdir", "did you mean `workingDir`?"),
    ],
)
def test_refuses_what_a_transform_cannot_have(fields, pointer, reason):
    """Each field of the transform is checked at its place."""
    found = mistakes(a_document(transform={"cmd": ["true"], **fields}))

    assert reason in found["/transform" + pointer]


def test_tells_all_mistakes_at_once():
    """Five mistakes are five errors, each with its pointer; the whole is one `Invalid`."""
    document = {
        "pipeline": {"nam": "p"},
        "input": {"pfs": {"repo": "lab", "s3": True, "glob": "/*"}},
        "transform": {"cmd": [], "stdin": [7]},
    }

    with pytest.raises(Invalid) as caught:
        parse(json.dumps(document), source="job.json")

    expected = (
        "job.json: 5 mistakes\n"
        "  /pipeline/nam: the key is unknown; did you mean `name`?\n"
        "  /pipeline/name: the key is missing; expected the pipeline's name, and so its output "
        "repo's\n"
        "  /transform/cmd: found an empty list; expected the command and its arguments, such as "
        '["sh"]\n'
        "  /transform/stdin/0: found the number 7; expected a line of text: put it in quotes\n"
        '  /input/pfs/glob: an S3 input takes the whole commit, so "/"; found "/*"'
    )
    assert expected == str(caught.value)


def test_a_message_cannot_move_the_cursor():
    """What a message repeats of the document is shown, not sent, to the terminal."""
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(a_document(**{"\x1b[2J": 1, "reprocessSpec": "\x1b[2J\x9b"})))

    assert "\x1b" not in str(caught.value)
    assert "\x9b" not in str(caught.value)


def test_a_message_repeats_no_value_of_a_variable():
    """A variable may hold a secret, and then a message must not."""
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(a_document(transform={"cmd": ["x"], "env": {"PASSWORD": 4711}})))

    assert "4711" not in str(caught.value)


def test_a_document_of_many_mistakes_is_told_in_few_lines():
    """A hundred mistakes are shown; all of them are there."""
    document = a_document(**{f"key{n}": n for n in range(5000)})

    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(document))

    assert 5000 == len(caught.value.problems)
    assert "and 4900 more" == str(caught.value).splitlines()[-1].strip()


@pytest.mark.parametrize("text", ["[]", '"x"', "5", "null", "just text"])
def test_a_document_is_an_object(text):
    """Any other value is refused as a whole."""
    assert ": found" in mistakes(text)[""]


def test_both_spellings_of_every_key_are_the_same_key():
    """A whole document in snake_case is the document in camelCase."""
    path = next(path for path in EXAMPLES if path.name == "everything.yaml")
    text = path.read_text()
    for name in sorted({field.name for table in TABLES for field in table.fields}):
        text = text.replace(f"{name}:", f"{snake_case(name)}:")

    camel, snake = parse(path.read_text()), parse(text)

    assert "s3_out:" in text
    assert attrs.evolve(camel, for_scheduler=()) == attrs.evolve(snake, for_scheduler=())
    assert len(camel.for_scheduler) == len(snake.for_scheduler)
    assert camel.digest == snake.digest


def test_the_keys_of_free_objects_are_kept_as_they_are():
    """Only keys that mean something here have two spellings."""
    assert {"my_var": "1", "myVar": "2"} == transformed(env={"my_var": "1", "myVar": "2"}).env


def test_what_is_for_the_scheduler_is_listed_and_not_read():
    """Keys that only a scheduler can honour are taken, whatever they hold."""
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


def test_warns_of_lines_that_nothing_reads():
    """`errStdin` needs an `errCmd`."""
    (told,) = parsed(transform={"cmd": ["true"], "errStdin": ["x"]}).warnings

    assert "/transform/errStdin" == told.pointer


def test_the_document_as_run_is_a_document():
    """What is kept with the output can be run again, and is the same then."""
    for path in EXAMPLES:
        spec = parse(path.read_text())
        again = parse(json.dumps(spec.document))

        assert (spec.document, spec.digest) == (again.document, again.digest)
        assert spec.inputs == again.inputs
        assert spec.transform == again.transform


def test_the_document_as_run_has_no_job_and_nothing_for_the_scheduler():
    """Only what this run honoured is said to have been run."""
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


def test_equal_pipelines_have_equal_digests():
    """The digest does not depend on how or in which order the document was written."""
    one = parse('{"pipeline":{"name":"p"},"input":{"pfs":{"repo":"lab","s3":true}},'
                '"transform":{"cmd":["true"]},"datumTimeout":"1h"}')  # fmt: skip
    other = parse(
        "datum_timeout: 60m\ntransform: {cmd: ['true']}\n"
        "input: {pfs: {s3: true, repo: lab, glob: /, name: lab}}\npipeline: {name: p}\n"
    )

    assert one.digest == other.digest
    assert one.digest != parsed(datumTimeout="2h").digest


def test_knows_whether_it_needs_a_gateway():
    """A job of files alone has no buckets."""
    files = {"pfs": {"repo": "lab", "glob": "/"}}

    assert parsed().serves_s3
    assert parsed(input=files, s3Out=True).serves_s3
    assert not parsed(input=files).serves_s3


KEYS = sorted({name for table in TABLES for field in table.fields for name in field.spellings})
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
def test_any_json_is_a_job_or_its_mistakes(value, key):
    """Whatever a document holds, the answer is a job or all that is wrong with it."""
    document = value if key is None else a_document(**{key: value})
    try:
        spec = parse(json.dumps(document))
    except DocumentErrors as wrong:
        problems = wrong.problems
    else:
        problems = None
        assert spec.document == parse(json.dumps(spec.document)).document

    assert problems is None or problems


@given(st.data())
def test_any_part_of_a_document_can_be_anything(data):
    """Whatever stands in the place of one value, the answer is a job or its mistakes."""
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
        told = parse(json.dumps(document)).warnings
    except DocumentErrors as wrong:
        told = wrong.problems

    assert all(str(problem) for problem in told)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_any_text_is_a_job_or_its_mistakes(text):
    """No text raises anything but `DocumentErrors`."""
    try:
        told = parse(text).warnings
    except DocumentErrors as wrong:
        told = wrong.problems

    assert all(str(problem) for problem in told)
