"""The tables of fields: each key is documented where a user looks for it."""

import json
import re
from pathlib import Path

import pytest

from worker.spec.document import DocumentErrors
from worker.spec.fields import DOCUMENT, JOB, METADATA, OUTPUT, PIPELINE, PROJECT, SECRET, TRANSFORM
from worker.spec.inputs import NODE, PFS
from worker.spec.parse import parse
from worker.spec.schema import snake_case

REFERENCE = (Path(__file__).parents[2] / "docs" / "job.md").read_text()
TABLES = (DOCUMENT, JOB, METADATA, OUTPUT, PIPELINE, PROJECT, SECRET, TRANSFORM, NODE, PFS)
NAMES = sorted({field.name for table in TABLES for field in table.fields})


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_in_the_reference(name):
    """`docs/job.md` names each key that a document can have, and each that is refused."""
    assert re.search(rf"`([a-z0-9]+\.)*{name}(\.[a-z]+)*`", REFERENCE, re.IGNORECASE)


@pytest.mark.parametrize(
    ("camel", "snake"), [("s3Out", "s3_out"), ("acceptReturnCode", "accept_return_code")]
)
def test_a_key_has_one_spelling_in_snake_case(camel, snake):
    """Each capital is an underscore and its small letter."""
    assert snake == snake_case(camel)


def test_no_two_keys_of_a_table_are_spelt_alike():
    """Each spelling means one key."""
    for table in TABLES:
        spellings = [spelling for field in table.fields for spelling in field.spellings]

        assert len(spellings) == len(set(spellings))


def test_the_references_own_example_is_a_job():
    """The document at the top of `docs/job.md` is a job."""
    (example,) = re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)

    assert parse(example).s3_out


def test_the_references_mistakes_are_told_as_it_shows():
    """The messages in `docs/job.md` are those of the program."""
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
