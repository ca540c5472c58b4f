"""The JSON Schema of a job document: it accepts every valid document."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worker.spec.document import DocumentErrors
from worker.spec.fields import json_schema
from worker.spec.parse import parse

jsonschema = pytest.importorskip("jsonschema")

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.[jy]*[nl]"))
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SMALLEST = {
    "pipeline": {"name": "p"},
    "input": {"pfs": {"repo": "lab", "s3": True}},
    "transform": {"cmd": ["true"]},
}


def test_the_schema_is_valid():
    """It conforms to draft 2020-12."""
    VALIDATOR.check_schema(SCHEMA)
    assert "https://json-schema.org/draft/2020-12/schema" == SCHEMA["$schema"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path):
    """The documents in ``config/examples`` conform to the schema."""
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def test_both_spellings_and_null_are_valid():
    """Keys may be in snake_case, and null where they are optional."""
    VALIDATOR.validate({**SMALLEST, "s3_out": True, "datumTries": None, "job": None})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {**SMALLEST, "s3Output": True},
        {**SMALLEST, "transform": {"cmd": []}},
        {**SMALLEST, "transform": {}},
        {**SMALLEST, "input": {}},
        {**SMALLEST, "input": {"union": [{"pfs": {"repo": "a"}}]}},
        {**SMALLEST, "input": {"cross": [{"pfs": {}}]}},
        {**SMALLEST, "datumTries": -1},
        {**SMALLEST, "datumTimeout": 600},
        {**SMALLEST, "service": {"type": "NodePort"}},
        {**SMALLEST, "job": {"id": "x"}},
    ],
    ids=json.dumps,
)
def test_unknown_missing_and_mistyped_keys_are_invalid(document):
    """An editor reports these errors without the worker."""
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(DocumentErrors):
        parse(json.dumps(document))


LEAVES = st.sampled_from([None, True, False, 0, 1, 3, "1", "x", "/", "10m", "0" * 32, "", "user"])
NODES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.just("a"), LEAVES, max_size=1)


@given(st.data())
def test_every_document_that_parses_is_valid(data):
    """The schema accepts whatever `parse` accepts."""
    top = st.sampled_from(sorted(SCHEMA["properties"]))
    inner = st.sampled_from(sorted(SCHEMA["properties"]["transform"]["properties"]))
    document = {
        **data.draw(st.dictionaries(top, NODES, max_size=2)),
        **SMALLEST,
        "transform": {"cmd": ["true"], **data.draw(st.dictionaries(inner, NODES, max_size=2))},
    }
    with contextlib.suppress(DocumentErrors):
        parse(json.dumps(document))
        VALIDATOR.validate(document)
