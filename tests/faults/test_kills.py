"""A put, a gc and a run with a signal before or after each of their writes to the store."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import an_id
from faults import servers
from faults.invariants import SCENARIOS, open_directly
from scenarios.sites import Site

DRIVER = Path(__file__).with_name("signal_at_write.py")
SAMPLES = {"put": 5, "gc": 3, "run": 9}
"""The interval at which moments are sampled without ``--exhaustive``.

An even one would have only moments before a write, since those after it alternate with them.
"""


class Stores:
    """The stores of a test: in directories or on a server."""

    def __init__(self, folder: Path, server: servers.Server | None) -> None:
        self.folder = folder
        self.server = server
        self.template = str(folder / "template") if server is None else f"memory://{an_id()}"

    def site(self, scenario) -> tuple[Site, object]:
        """Return a machine whose store is a copy of the scenario's, and the store."""
        root = self.folder / f"machine-{an_id()}"
        (root / "scratch").mkdir(parents=True)
        if self.server is None:
            return Site(root, str(root / "store")), scenario.copy_to(str(root / "store"))
        url, direct = f"s3://{servers.BUCKET}/{an_id()}", servers.options(self.server.endpoint)
        scenario.copy_to(url, direct)
        site = Site(root, url, servers.environment(self.server.endpoint))
        return site, open_directly(url, direct)


def run_with_signal(
    site: Site, scenario, signal: str, when: str, number: int, **more: str
) -> tuple[int, str]:
    """Run the command of the scenario with a signal; return its status and standard error."""
    done = subprocess.run(
        [sys.executable, DRIVER, signal, when, str(number), *scenario.arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=site.root,
        env={**site.environment, "TMPDIR": str(site.root), **more},
        timeout=120,
    )
    return done.returncode, done.stderr[-1500:]


def check_signals(name, signal, stores, count, *, every: int) -> None:
    """Send the signal around each write, or one of *every*, and check the invariants each time."""
    scenario = SCENARIOS[name](stores.template, stores.folder / "scenario")
    site, _ = stores.site(scenario)
    counted = stores.folder / "count"
    code, shown = run_with_signal(site, scenario, signal, "before", 0, COUNT_FILE=str(counted))
    assert 0 == code, shown
    moments = [(n, when) for n in range(1, int(counted.read_text()) + 1) for when in WHEN]

    found = []
    for number, when in moments[::every]:
        site, store = stores.site(scenario)
        code, shown = run_with_signal(site, scenario, signal, when, number)
        killed = signal == "SIGKILL"
        assert not killed or code == -9, shown
        count(name, f"{signal}: exit {code}")

        def again(site=site) -> int:
            return site.worker(*scenario.arguments).status

        violations = scenario.check(store, None if killed else code, again, single_fault=False)
        for violation in violations:
            count(name, f"violation: {violation.invariant.value}")
            found.append(f"{signal} {when} write {number}: {violation}\n{shown}")
    assert not found, "\n".join(found)


WHEN = ("before", "after")


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_signal_around_a_directory_write_keeps_invariants(
    name, signal, tmp_path, exhaustive, count
):
    """Readers see the store before or after the command, and repeating the command succeeds."""
    every = 1 if exhaustive else SAMPLES[name]
    check_signals(name, signal, Stores(tmp_path, None), count, every=every)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_signal_around_a_server_write_keeps_invariants(
    name, signal, server, tmp_path, exhaustive, count
):
    """The same holds for an object store."""
    every = 1 if exhaustive else 15
    check_signals(name, signal, Stores(tmp_path, server), count, every=every)
