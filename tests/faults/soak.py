# ruff: noqa: E402 - a script must extend the path before its imports
"""Many concurrent jobs on one output branch: ``python tests/faults/soak.py --store directory``.

Every job exits with 0, every output is in the log of the branch once, and ``verify`` finds no
defect. With ``--store moto|minio|versitygw`` the store is on that server (see ``servers``).
"""

import argparse
import collections
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from builders import a_job, an_id
from faults import servers
from scenarios.sites import Site

from worker.model import BranchName, Repo
from worker.store.checkin import put_directory
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.verify import verify

COPY = BranchName(Repo("default", "copy"))


@contextlib.contextmanager
def a_site(folder: Path, kind: str) -> Iterator[tuple[Site, Store]]:
    """Set up a machine with a store of this kind."""
    (folder / "scratch").mkdir()
    if kind == "directory":
        yield Site(folder, str(folder / "store")), open_store(folder / "store")
        return
    with servers.serving(kind) as server:
        url = f"s3://{servers.BUCKET}/soak"
        # Under this load a request can take longer than 2 s.
        more = servers.environment(server.endpoint)
        more["WORKER_STORE_OPTIONS"] = more["WORKER_STORE_OPTIONS"].replace("=2s", "=30s")
        options = {**servers.options(server.endpoint), "timeout": "30s"}
        yield Site(folder, url, more), open_store(url, options)


def main() -> None:
    """Run the jobs and print their exit statuses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--store", default="directory")
    parsed = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        a_site(Path(temporary), parsed.store) as (site, store),
    ):
        folder = Path(temporary) / "input"
        folder.mkdir()
        (folder / "a").write_text("1")
        put_directory(store, BranchName(Repo("default", "labresults")), folder)
        ids = [an_id() for _ in range(parsed.jobs)]

        def run(job: str) -> subprocess.CompletedProcess[str]:
            document = a_job(f"echo {job} | curl -sf -T - $S3_ENDPOINT/out/{job}", job={"id": job})
            path = site.job(document, f"{job}.json")
            command = site.command("run", "--job", path, "--json")
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=site.root,
                env=site.environment,
            )

        started = time.monotonic()
        with ThreadPoolExecutor(parsed.at_once) as pool:
            ended = list(pool.map(run, ids))
        seconds = time.monotonic() - started
        for code, number in sorted(collections.Counter(e.returncode for e in ended).items()):
            print(f"exit {code}: {number} jobs")
        for each in ended:
            if each.returncode:
                with contextlib.suppress(ValueError):
                    result = json.loads(each.stdout)
                    print(f"  {result['cause']}: {result['reason']}")
        log = [head.commit.id for head in store.heads(COPY)]
        print(f"commits in the log: {len(log)}, distinct: {len(set(log))}, of {parsed.jobs} jobs")
        found = verify(store)
        print(f"verify: {len(found.defects)} defects in {found.commits} commits")
        print(f"{seconds:.0f} s")
        complete = sorted(log) == sorted(ids) and not found.defects
        sys.exit(0 if complete and not any(e.returncode for e in ended) else 1)


if __name__ == "__main__":
    main()
