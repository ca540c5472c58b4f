"""The page on security names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
NAMED = re.compile(r"`((?:[a-z_]+/)*test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`")
PROMISES = re.findall(NAMED, (REPO / "docs" / "security.md").read_text())


def functions(path: Path) -> set[str]:
    """Return the names of the functions of a module."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize(("module", "test"), PROMISES, ids=lambda each: each)
def test_each_promise_is_held_by_a_test(module, test):
    path = REPO / module if "/" in module else REPO / "tests" / "attacks" / module

    assert test in functions(path)


def test_each_row_of_a_table_of_promises_names_a_test():
    page = (REPO / "docs" / "security.md").read_text()
    tables = re.findall(r"\| promise \|.*\n\|.*\n((?:\|.*\n)+)", page)
    rows = [row for table in tables for row in table.splitlines()]

    assert len(rows) > 30
    assert [] == [row for row in rows if not NAMED.search(row)]
