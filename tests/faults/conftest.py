"""Which server the faults are injected in front of, and how many of them."""

import collections

import pytest
from faults import servers

COUNTS: "collections.Counter[tuple[str, str]]" = collections.Counter()


@pytest.fixture(scope="session")
def server(request):
    """An S3 server with an empty bucket."""
    name = request.config.getoption("--server")
    try:
        with servers.serving(name) as found:
            yield found
    except servers.NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def exhaustive(request):
    """Whether every fault is injected at every request."""
    return request.config.getoption("--exhaustive")


@pytest.fixture
def count():
    """Return a function that counts an outcome for the summary."""

    def add(scene: str, outcome: str) -> None:
        COUNTS[scene, outcome] += 1

    return add


def pytest_terminal_summary(terminalreporter):
    """Say how many faults were injected, and how the commands ended."""
    if COUNTS:
        terminalreporter.section("injected faults")
        for (scene, outcome), number in sorted(COUNTS.items()):
            terminalreporter.line(f"{scene:<6} {outcome:<40} {number:>5}")
