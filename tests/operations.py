"""Counting the operations of a function, since tests do not measure time."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import worker

PACKAGE = str(Path(worker.__file__).parent)


def lines_executed(function: Callable[[], object]) -> int:
    """Call *function*, and return how many lines of the package it has executed.

    A line that calls C code is one line, so this does not count the work of regular expressions.
    """
    count = 0

    def count_lines(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return count_lines

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        return count_lines if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        function()
    finally:
        sys.settrace(before)
    return count
