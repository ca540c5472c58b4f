"""The server behind the injected faults, and the summary of their outcomes."""

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
    """A function that counts an outcome for the summary."""

    def add(scenario: str, outcome: str) -> None:
        COUNTS[scenario, outcome] += 1

    return add


def pytest_terminal_summary(terminalreporter):
    """Print how many faults were injected, and the exit codes of the commands."""
    if COUNTS:
        terminalreporter.section("injected faults")
        for (scenario, outcome), number in sorted(COUNTS.items()):
            terminalreporter.line(f"{scenario:<6} {outcome:<40} {number:>5}")
