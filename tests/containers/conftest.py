"""Fixtures of the tests that need a container engine, and that are skipped without one."""

import os
import shutil

import psutil
import pytest
import trio
from containers.engines import ENGINE, MARK, Engine
from scenarios.sites import Site


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine of ``WORKER_TEST_ENGINE``."""
    if not ENGINE:
        pytest.skip("needs a container engine: WORKER_TEST_ENGINE=podman (or docker)")
    assert shutil.which(ENGINE), f"WORKER_TEST_ENGINE={ENGINE}: program not found"
    return Engine(ENGINE)


@pytest.fixture
def site(tmp_path, engine):
    """A machine with a worker that runs commands in containers, and leaves none."""
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
    """A function that returns the processes of this machine with the mark of this test."""

    def find() -> list[str]:
        return [line for each in psutil.process_iter() if (line := _marked(each, str(tmp_path)))]

    return find


def _marked(process: psutil.Process, mark: str) -> str:
    try:
        if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
            return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        # It exited meanwhile.
        return ""
    return ""


@pytest.fixture
def until():
    """A function that waits for a condition, with a timeout for a slow machine."""

    async def wait(condition, *, seconds: float = 60.0) -> None:
        with trio.fail_after(seconds):
            while not condition():
                await trio.sleep(0.05)

    return wait
