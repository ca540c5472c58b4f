"""Conventions of the code base that no other tool checks."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("worker", "tests") for path in (ROOT / folder).rglob("*.py"))
SUPPRESSION = re.compile(r"#\s*(?:ruff:\s*)?(?:noqa|type:\s*ignore)\b(.*)")
CODES = re.compile(r"\s*(:\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*|\[[a-z, -]+\])")


def imported(path):
    """Yield the top-level modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


def normalized(requirement):
    """Return the normalized name of a distribution, or of a requirement without its version."""
    return re.sub(r"[^\w.-].*", "", requirement).lower().replace("_", "-")


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


@pytest.mark.parametrize(("folder", "extras"), [("worker", []), ("tests", ["test"])])
def test_every_imported_distribution_is_a_declared_dependency(folder, extras):
    """A dependency of a dependency may be dropped by it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"]]
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    declared = {normalized(requirement) for requirement in requirements}
    own = {"worker", *(path.stem for path in (ROOT / "tests").iterdir())}
    distributions = packages_distributions()
    undeclared = {
        (module, str(path.relative_to(ROOT)))
        for path in (ROOT / folder).rglob("*.py")
        if "scripts" not in path.parts  # clients, which run in environments of their own
        for module in imported(path)
        if module not in own and module not in sys.stdlib_module_names
        if declared.isdisjoint(map(normalized, distributions.get(module, [])))
    }

    assert set() == undeclared
