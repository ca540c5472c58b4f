"""One of several processes that do the same to a store at once; run by test_races.

``racing.py STORE STEP COMMIT``: opens the store, says that it is ready, waits for a line, takes the
step and prints its outcome.
"""

import sys

import attrs

from worker.model import BranchName, CommitName, Repo
from worker.store.repository import open_store

OUT = Repo("default", "out")


def main() -> None:
    where, step, number = sys.argv[1:]
    store = open_store(where)
    template = store.resolve("lab")
    mine = attrs.evolve(
        template,
        name=CommitName(OUT, f"{1 if step == 'add' else int(number):032x}"),
        message=number,
    )
    if step == "advance":
        store.add_commit(mine)
    print("ready", flush=True)
    sys.stdin.readline()
    if step == "add":
        print(store.add_commit(mine).message)
    else:
        print(store.advance(BranchName(OUT), mine, expected=None).move.value)


if __name__ == "__main__":
    main()
