"""What this process knows stays in it, though the user's command runs as the same user."""

import ctypes
import sys

PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """Let no other process of this user read the environment or the memory of this one.

    Both may hold the credentials for the store. It lasts until this process runs another program,
    and is no help against root. Where the system has no such thing, nothing is done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
