"""One of several processes that change a store at the same time, for test_races.

``racing.py STORE STEP NUMBER``: open the store, print "ready", wait for a line, carry out the step
``add`` or ``advance``, and print its result.
"""

import sys

import attrs

from worker.model import BranchName, CommitName, Repo
from worker.store.opening import open_store

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
