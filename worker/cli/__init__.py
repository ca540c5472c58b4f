"""The command line: what a person types, and what it answers.

Each group of commands has a module that is imported when one of its commands is called, so that
help and ``worker run`` start fast.
"""

from worker.cli.app import main

__all__ = ["main"]
