"""A put that is killed at every step, for test_kill.

``dying.py STORE FOLDER RESULTS``: for each k, copy STORE to RESULTS/k, and put FOLDER there in a
child process, which kills itself directly before its k-th system call that changes the disk. Exit
after the first k for which the child completes the put.
"""

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

from worker.model import BranchName, Repo
from worker.store.checkin import put_directory
from worker.store.opening import open_store

CHANGING = ("mkdir", "open", "pwrite", "ftruncate", "fsync", "link", "replace", "unlink", "rmdir")


def kill_at(step: int, store: str) -> None:
    """Kill this process before its *step*-th call from now on that changes something in *store*."""
    steps = itertools.count(1)

    def dying(call):
        def replacement(first, *rest, **named):
            is_outside = isinstance(first, str) and not first.startswith(store)
            is_read = call.__name__ == "open" and not rest[0] & os.O_CREAT
            if not is_outside and not is_read and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(first, *rest, **named)

        return replacement

    for name in CHANGING:
        setattr(os, name, dying(getattr(os, name)))


def main() -> None:
    template, folder, results = map(Path, sys.argv[1:])
    for step in itertools.count(1):
        where = results / f"{step:03d}"
        shutil.copytree(template, where, copy_function=shutil.copy2)
        child = os.fork()
        if child == 0:
            store = open_store(where)
            kill_at(step, str(where))
            put_directory(store, BranchName(Repo("default", "lab")), folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
