"""Tests that need a container engine; without one they are skipped, and say what they need."""

import os
import shutil

import psutil
import pytest
import trio
from containers.engines import ENGINE, MARK, Engine
from scenarios.machines import Site


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that these tests are run with."""
    if not ENGINE:
        pytest.skip("needs a container engine: WORKER_TEST_ENGINE=podman (or docker)")
    assert shutil.which(ENGINE), f"WORKER_TEST_ENGINE={ENGINE}: there is no such program"
    return Engine(ENGINE)


@pytest.fixture
def site(tmp_path, engine):
    """A machine with a worker that runs its commands in containers."""
    more = {name: value for name, value in os.environ.items() if name.startswith("WORKER_ENGINE_")}
    site = Site(
        tmp_path,
        str(tmp_path / "store"),
        {
            "WORKER_RUNTIME": engine.name,
            "HOME": os.environ.get("HOME", str(tmp_path)),
            "WORKER_PASS_ENVIRONMENT": MARK,
            MARK: str(tmp_path),
            **more,
        },
    )
    site.scratch.mkdir()
    yield site
    assert [] == engine.containers()


@pytest.fixture
def running(tmp_path):
    """Tells which processes of this machine carry the mark of this test."""

    def find() -> list[str]:
        return [line for each in psutil.process_iter() if (line := _marked(each, str(tmp_path)))]

    return find


def _marked(process: psutil.Process, mark: str) -> str:
    try:
        if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
            return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        # It has ended meanwhile.
        return ""
    return ""


@pytest.fixture
def until():
    """Waits until something holds, for as long as a slow machine may need."""

    async def wait(holds, *, seconds: float = 60.0) -> None:
        with trio.fail_after(seconds):
            while not holds():
                await trio.sleep(0.05)

    return wait
