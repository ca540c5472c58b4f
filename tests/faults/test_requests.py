"""A put, a gc and a run with one failed request, in each way in which a request can fail."""

import pytest
from builders import an_id
from faults import servers
from faults.invariants import SCENARIOS, Scenario, open_directly
from faults.proxy import Exchange, Fault, Injection, Proxy
from scenarios.sites import Site

from worker.store.opening import open_store

SAMPLES = {"put": 3, "gc": 3, "run": 5}
"""The interval at which requests are sampled without ``--exhaustive``."""


def inject(scenario: Scenario, server, folder, injection: Injection):
    """Run *scenario* on a copy of its store through a proxy; return its outcome."""
    url = f"s3://{servers.BUCKET}/{an_id()}"
    direct = servers.options(server.endpoint)
    scenario.copy_to(url, direct)
    store = open_directly(url, direct)
    with Proxy(server.address, injection) as proxy:
        code, reason = run(scenario, url, folder, proxy.url)
    violations = scenario.check(store, code, lambda: run(scenario, url, folder, server.endpoint)[0])
    return code, reason, violations, proxy.exchanges


def run(scenario: Scenario, url: str, folder, endpoint: str) -> tuple[int, str]:
    """Run *scenario* once: a run as a process, the others in this process."""
    if scenario.name != "run":
        return scenario.call(open_store(url, servers.options(endpoint)))
    root = folder / f"machine-{an_id()}"
    (root / "scratch").mkdir(parents=True)
    site = Site(root, url, servers.environment(endpoint))
    done = site.worker(*scenario.arguments)
    return done.status, done.err[-2000:]


def cases(exchanges: list[Exchange], *, every: int, exhaustive: bool):
    """Yield the requests to fail with the fault: all, or a sample that has every fault."""
    faults = list(Fault)
    for exchange in exchanges:
        possible = [fault for fault in faults if exchange.writes or not fault.only_writes]
        if exhaustive:
            yield from ((exchange, fault) for fault in possible)
        elif (exchange.number - 1) % every == 0:
            index = (exchange.number - 1) // every
            yield exchange, possible[index % len(possible)]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_single_failed_request_is_tolerated(name, server, exhaustive, count, tmp_path):
    """Whichever request fails, the command exits with 0 and all invariants hold."""
    scenario = SCENARIOS[name](f"memory://{an_id()}", tmp_path / "scenario")
    code, reason, violations, exchanges = inject(scenario, server, tmp_path, Injection())
    assert (0, []) == (code, violations), reason

    found = []
    for exchange, fault in cases(exchanges, every=SAMPLES[name], exhaustive=exhaustive):
        code, reason, violations, _ = inject(
            scenario, server, tmp_path, Injection(exchange.number, fault=fault)
        )
        count(name, f"{fault.value}: exit {code}")
        for violation in violations:
            count(name, f"violation: {violation.invariant.value}")
            found.append(f"{exchange}, {fault.value}: {violation}\n{reason}")
    assert not found, "\n".join(found)
