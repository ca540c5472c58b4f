"""The JSON Schema of a job document, for editors and for those who make documents."""

import json
from typing import Any

from worker.spec.fields import DOCUMENT
from worker.spec.inputs import NODE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a job document, with both spellings of each key.

    What depends on several keys at once, such as the names of inputs, only `parse` checks.
    """
    return {
        "$schema": DIALECT,
        "title": "Job document of worker",
        **DOCUMENT.schema(),
        "$defs": {"input": {**NODE.schema(), "minProperties": 1}},
    }


def schema_text() -> str:
    """Return the schema as JSON text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False)
