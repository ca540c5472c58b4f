"""A put, a gc and a run are struck before or after each of their writes to the store."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import an_id
from faults import servers
from faults.scenes import SCENES, open_directly
from scenarios.machines import Site

DRIVER = Path(__file__).with_name("struck.py")
SAMPLES = {"put": 2, "gc": 2, "run": 6}
"""One moment of so many is tried, unless all are."""


class Places:
    """Where the stores of a test are: in a directory, or on a server."""

    def __init__(self, folder: Path, server: servers.Server | None) -> None:
        self.folder = folder
        self.server = server
        self.template = str(folder / "template") if server is None else f"memory://{an_id()}"

    def site(self, scene) -> tuple[Site, object]:
        """Return a machine whose store is a copy of the scene's, and the store."""
        root = self.folder / f"machine-{an_id()}"
        (root / "scratch").mkdir(parents=True)
        if self.server is None:
            return Site(root, str(root / "store")), scene.copy_to(str(root / "store"))
        url, direct = f"s3://{servers.BUCKET}/{an_id()}", servers.options(self.server.endpoint)
        scene.copy_to(url, direct)
        site = Site(root, url, servers.environment(self.server.endpoint))
        return site, open_directly(url, direct)


def strike(site: Site, scene, signal: str, when: str, number: int, **more: str) -> tuple[int, str]:
    """Run the scene's command, struck; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, DRIVER, signal, when, str(number), *scene.arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=site.root,
        env={**site.environment, **more},
        timeout=120,
    )
    return done.returncode, done.stderr[-1500:]


def strike_everywhere(name, signal, places, count, *, every: int) -> None:
    """Strike around each write, or one of *every*, and judge what is left each time."""
    scene = SCENES[name](places.template, places.folder / "scene")
    site, _ = places.site(scene)
    counted = places.folder / "count"
    code, said = strike(site, scene, signal, "before", 0, STRUCK_COUNT=str(counted))
    assert 0 == code, said
    moments = [(n, when) for n in range(1, int(counted.read_text()) + 1) for when in WHEN]

    found = []
    for number, when in moments[:: every if every > 1 else 1]:
        site, store = places.site(scene)
        code, said = strike(site, scene, signal, when, number)
        killed = signal == "SIGKILL"
        assert not killed or code == -9, said
        count(name, f"{signal}: exit {code}")

        def again(site=site) -> int:
            return site.worker(*scene.arguments).status

        violations = scene.judge(store, None if killed else code, again, single_fault=False)
        for violation in violations:
            count(name, f"violation: {violation.invariant.value}")
            found.append(f"{signal} {when} write {number}: {violation}\n{said}")
    assert not found, "\n".join(found)


WHEN = ("before", "after")


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", SCENES)
def test_struck_around_a_write_to_a_directory(name, signal, tmp_path, exhaustive, count):
    """The store reads as before or as after, the same again succeeds, the exit code is true."""
    every = 1 if exhaustive else SAMPLES[name]
    strike_everywhere(name, signal, Places(tmp_path, None), count, every=every)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", SCENES)
def test_struck_around_a_write_to_a_server(name, signal, server, tmp_path, exhaustive, count):
    """On an object store, too."""
    every = 1 if exhaustive else 15
    strike_everywhere(name, signal, Places(tmp_path, server), count, every=every)
