"""The reference page of the job document agrees with the parser."""

import json
import re
from pathlib import Path

import pytest

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

REFERENCE = (Path(__file__).parents[2] / "docs" / "job.md").read_text()
TABLES = (DOCUMENT, JOB, METADATA, OUTPUT, PIPELINE, PROJECT, SECRET, TRANSFORM, NODE, PFS)
NAMES = sorted({field.name for table in TABLES for field in table.fields})


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_documented(name):
    """The page names each key of a document, rejected keys included."""
    assert re.search(rf"`([a-z0-9]+\.)*{name}(\.[a-z]+)*`", REFERENCE, re.IGNORECASE)


def test_the_example_of_the_page_is_valid():
    """The document at the top of the page parses."""
    (example,) = re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)

    assert parse(example).s3_out


def test_the_error_messages_of_the_page_are_those_of_the_parser():
    """The messages on the page are reported for the document that they describe."""
    (shown,) = re.findall(r"```\n(job.json: .*?)```", REFERENCE, re.DOTALL)
    document = {
        "s3Output": True,
        "pipeline": {"name": "p"},
        "input": {"pfs": {"repo": "lab", "s3": True, "glob": "/*"}},
        "transform": {"cmd": []},
    }

    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps(document), source="job.json")

    assert shown.strip() == str(caught.value)
