"""Process options of Linux (``prctl``). The supervisor shim imports this module."""

import ctypes
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, value: int) -> None:
    """Set an option of this process; do nothing on systems other than Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def keep_private() -> None:
    """Prevent other processes of this user from reading this one's environment and memory.

    Both may contain credentials of the store. It lasts until this process executes another program
    and does not protect from root.
    """
    prctl(PR_SET_DUMPABLE, 0)
