"""``docs/architecture.md`` agrees with the code.

``python tests/test_architecture.py`` writes the generated parts of the page: the diagram of states
from the table of transitions, and the table of modules from their docstrings.
"""

import ast
import re
from pathlib import Path

import pytest

from worker.job.state import TRANSITIONS, State

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
WORKER = ROOT / "worker"


def states() -> str:
    """Return the state machine of a run as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.CREATED.value}"]
    lines += [
        f"    {a.value} --> {b.value}: {event.value}" for (a, event), b in TRANSITIONS.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state.final]
    return "\n".join([*lines, "```"])


def modules() -> str:
    """Return a table of all modules with the first lines of their docstrings."""
    lines = ["| module | subject |", "| --- | --- |"]
    for path in sorted(WORKER.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        if path.name != "__init__.py":
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            # The first sentence, without its period, may continue in the second line.
            summary = (
                " ".join(docstring.partition("\n\n")[0].split())
                .removesuffix(".")
                .replace("|", "\\|")
            )
            lines.append(f"| `{path.relative_to(WORKER)}` | {summary} |")
    return "\n".join(lines)


GENERATED = {"states": states, "modules": modules}


def section(page: str, name: str) -> str:
    """Return the generated part *name* of the page."""
    (found,) = re.findall(f"<!-- {name} -->\n(.*?)\n?<!-- end of {name} -->", page, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_part_of_the_page_is_up_to_date(name):
    """If it is not, run ``python tests/test_architecture.py``."""
    assert GENERATED[name]() == section(PAGE.read_text(), name)


def test_every_path_on_the_page_exists():
    """Paths are relative to the repository or to ``worker``."""
    paths = re.findall(r"`([\w./]+(?:\.py|\.md|\.toml|/))`", PAGE.read_text())

    assert [] == [path for path in paths if not any((r / path).exists() for r in (ROOT, WORKER))]


def main() -> None:
    """Write the generated parts of the page."""
    page = PAGE.read_text()
    for name, generate in GENERATED.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, _, rest = page.partition(start)
        page = head + start + generate() + "\n" + end + rest.partition(end)[2]
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
