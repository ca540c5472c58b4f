"""The JSON Schema of a job document: it never refuses what is right, and finds what is plain."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worker.spec.document import DocumentErrors
from worker.spec.fields import schema, schema_text
from worker.spec.parse import parse

jsonschema = pytest.importorskip("jsonschema")

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.[jy]*[nl]"))
VALIDATOR = jsonschema.Draft202012Validator(schema())
SMALLEST = {
    "pipeline": {"name": "p"},
    "input": {"pfs": {"repo": "lab", "s3": True}},
    "transform": {"cmd": ["true"]},
}


def test_is_a_schema():
    """The schema is one of draft 2020-12."""
    VALIDATOR.check_schema(schema())
    assert "https://json-schema.org/draft/2020-12/schema" == schema()["$schema"]


def test_is_printed_as_json():
    """The text is the schema."""
    assert schema() == json.loads(schema_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_takes_every_example(path):
    """What is a job is one for the schema."""
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def test_takes_both_spellings_and_null():
    """camelCase, snake_case, and null for what is left out."""
    VALIDATOR.validate({**SMALLEST, "s3_out": True, "datumTries": None, "job": None})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {**SMALLEST, "s3Output": True},
        {**SMALLEST, "transform": {"cmd": []}},
        {**SMALLEST, "transform": {}},
        {**SMALLEST, "input": {}},
        {**SMALLEST, "input": {"union": []}},
        {**SMALLEST, "input": {"cross": []}},
        {**SMALLEST, "input": {"cross": [{"pfs": {}}]}},
        {**SMALLEST, "datumTries": 0},
        {**SMALLEST, "datumTimeout": 600},
        {**SMALLEST, "service": {}},
        {**SMALLEST, "job": {"id": "x"}},
    ],
    ids=json.dumps,
)
def test_refuses_what_a_reader_can_see(document):
    """Unknown keys, wrong kinds of values and missing ones are found without a worker."""
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(DocumentErrors):
        parse(json.dumps(document))


LEAVES = st.sampled_from([None, True, False, 0, 1, 3, "1", "x", "/", "10m", "0" * 32, "", "user"])
NODES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.just("a"), LEAVES, max_size=1)


@given(st.data())
def test_never_refuses_what_is_a_job(data):
    """What `parse` takes, the schema takes."""
    top = st.sampled_from(sorted(schema()["properties"]))
    inner = st.sampled_from(sorted(schema()["properties"]["transform"]["properties"]))
    document = {
        **data.draw(st.dictionaries(top, NODES, max_size=2)),
        **SMALLEST,
        "transform": {"cmd": ["true"], **data.draw(st.dictionaries(inner, NODES, max_size=2))},
    }
    with contextlib.suppress(DocumentErrors):
        parse(json.dumps(document))
        VALIDATOR.validate(document)
