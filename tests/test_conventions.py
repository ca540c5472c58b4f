"""Conventions of the code base that no other tool checks."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("worker", "tests") for path in (ROOT / folder).rglob("*.py"))
SUPPRESSION = re.compile(r"#\s*(?:ruff:\s*)?(?:noqa|type:\s*ignore)\b(.*)")
CODES = re.compile(r"\s*(:\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*|\[[a-z, -]+\])")


def comments(path):
    """Yield the line number and the text of each comment in a file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_suppressed_check_has_its_code_and_a_reason_in_the_same_line(path):
    """`noqa` and `type: ignore` name the rule, and say why it does not apply."""
    unexplained = [
        f"{path.name}:{number}: {comment}"
        for number, comment in comments(path)
        if (found := SUPPRESSION.search(comment))
        and not (
            (codes := CODES.match(found[1])) and re.search(r"\w+\W+\w", found[1][codes.end() :])
        )
    ]

    assert [] == unexplained
