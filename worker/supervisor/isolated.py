"""Isolated Python: processes that import this package and nothing of the user's."""

import sys
from pathlib import Path


def isolated_python(module: str) -> tuple[str, ...]:
    """Return the command line that runs ``main`` of a *module* of this package.

    -I and -S keep the user's code and environment out of Python's import path, and with them this
    package, so its folder is appended, behind Python's own.
    """
    folder = str(Path(__file__).parents[2])
    program = f"import sys; sys.path.append({folder!r}); from {module} import main; main()"
    return (sys.executable, "-I", "-S", "-c", program)
