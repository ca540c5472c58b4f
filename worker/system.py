"""Options of this process that Linux sets with ``prctl(2)``; other systems have none of them.

The supervisor shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import ctypes
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def keep_private() -> None:
    """Deny other processes of the same user access to the environment and memory of this one.

    Both may hold the credentials of the store, and the command may run as the same user. The
    setting ends when this process executes another program. Root is not restricted.
    """
    _prctl(PR_SET_DUMPABLE, 0)


def allow_access() -> None:
    """Undo `keep_private`, which a forked child inherits."""
    _prctl(PR_SET_DUMPABLE, 1)


def become_subreaper() -> None:
    """Make this process the parent of orphaned descendants, instead of PID 1."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_parent_death_signal(number: int) -> None:
    """Send signal *number* to this process when its parent dies.

    The kernel clears the setting when the process changes its user.
    """
    _prctl(PR_SET_PDEATHSIG, number)


def forbid_new_privileges() -> None:
    """Let this process and its descendants gain no right by executing a setuid program."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
