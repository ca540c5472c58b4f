"""Attack on ``worker get`` by another user, who swaps the folders and files it writes for links.

    python tests/attacks/swap.py [--swaps N]

It needs root, Linux and its renameat2(2). `tests/attacks/test_path_races.py` makes the same race
certain, at each system call; this script lets it happen. It prints the number of swaps and of runs,
and exits with 1 if something outside was changed, or if a file with other content was written.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[level]) for level in (1, 2)]

# ruff: noqa: E402 - as a command, it has to say first where its neighbours are
from builders import a_commit

from worker.directories import remove_tree
from worker.errors import WorkerError
from worker.store.checkout import get_directory
from worker.store.opening import open_store

USER = 4001
OUTSIDE = {"file": "of root", "below/file": "of root"}
EXPECTED = (b"old", b"new")
PLACES = {"sub": "", "sub/below": "below", "a": "file"}
"""What is swapped for a link, by what it leads to outside."""
SWAPPER = """
import ctypes, os, signal, sys
os.setgid({user}); os.setuid({user})
exchange = ctypes.CDLL(None, use_errno=True).renameat2
os.chdir(sys.argv[1])
swaps = 0
def stop(*_):
    print(swaps, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
links = []
for number, place in enumerate({places}):
    links.append((f"link{{number}}".encode(), place.encode()))
    os.symlink(os.path.join(sys.argv[2], {places}[place]), f"link{{number}}")
print(flush=True)
while True:
    for link, place in links:
        # A place that is missing for a moment appears again.
        swaps += exchange(-100, link, -100, place, 2) == 0
"""


def state(folder: Path) -> list[tuple[object, ...]]:
    """Return what a change below *folder* would change."""
    found: list[tuple[object, ...]] = []
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content: object = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()
        found.append((path, status.st_mode, status.st_uid, status.st_ctime_ns, content))
    return found


def create(target: Path) -> None:
    """Create the folder to which a get writes, as the user's own."""
    (target / "sub" / "below").mkdir(parents=True)
    (target / "a").write_text("old")
    for path in (target, *target.rglob("*")):
        os.chown(path, USER, USER)


def attack(root: Path, swaps: int) -> list[str]:
    """Run gets below *root* until about *swaps* swaps have happened; return what is wrong."""
    root.chmod(0o755)
    store = open_store(root / "store")
    files = {"a": b"new", **{f"sub/below/{n}": b"new" for n in range(40)}, "sub/file": b"new"}
    commit = a_commit(store, files, repo="given")
    outside, target = root / "outside", root / "target"
    for key, text in OUTSIDE.items():
        (outside / key).parent.mkdir(parents=True, exist_ok=True)
        (outside / key).write_text(text)
    before, outcomes, done = state(outside), Counter[str](), 0
    code = SWAPPER.format(user=USER, places=PLACES)
    while done < swaps:
        create(target)
        swapper = subprocess.Popen(
            [sys.executable, "-c", code, str(target), str(outside)], stdout=subprocess.PIPE
        )
        assert swapper.stdout is not None
        with swapper, swapper.stdout:
            swapper.stdout.readline()
            for _ in range(50):
                try:
                    refused = get_directory(store, commit, target)
                    outcomes["complete" if not refused else "some files refused"] += 1
                except WorkerError as error:
                    outcomes[type(error).__name__] += 1
            swapper.terminate()
            done += int(swapper.stdout.readline())
        if before != state(outside):
            return [f"after {done:,} swaps, {outside} was changed"]
        found = {p for p in target.rglob("*") if p.is_file() and not p.is_symlink()}
        if wrong := [f"{p} has other content" for p in found if p.read_bytes() not in EXPECTED]:
            return wrong
        remove_tree(target)
        print(f"\r{done:,} swaps, {outcomes.total():,} gets: {dict(outcomes)}", end="", flush=True)
    print()
    return []


def main() -> int:
    """Attack as often as the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--swaps", type=int, default=192_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="worker-swap-") as folder:
        problems = attack(Path(folder).resolve(), options.swaps)
    print("\n".join(problems) or "nothing outside was read or changed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
