"""One request of a command fails, in each way a request can fail, and nothing is lost."""

import pytest
from builders import an_id
from faults import servers
from faults.proxy import Exchange, Fault, Plan, Proxy
from faults.scenes import SCENES, Scene, open_directly
from scenarios.machines import Site

from worker.store.repository import open_store

SAMPLES = {"put": 1, "gc": 1, "run": 5}
"""One request of so many is struck, unless all are."""


def play(scene: Scene, server, folder, plan: Plan):
    """Do *scene* on a copy of its store through a proxy; return code, reason, judge and proxy."""
    url = f"s3://{servers.BUCKET}/{an_id()}"
    direct = servers.options(server.endpoint)
    scene.copy_to(url, direct)
    store = open_directly(url, direct)
    with Proxy(server.address, plan) as proxy:
        code, reason = do(scene, url, folder, proxy.url)
    violations = scene.judge(store, code, lambda: do(scene, url, folder, server.endpoint)[0])
    return code, reason, violations, proxy.exchanges


def do(scene: Scene, url: str, folder, endpoint: str) -> tuple[int, str]:
    """Do *scene* once: a run as a process, the others in this one."""
    if scene.name != "run":
        return scene.call(open_store(url, servers.options(endpoint)))
    root = folder / f"machine-{an_id()}"
    (root / "scratch").mkdir(parents=True)
    site = Site(root, url, servers.environment(endpoint))
    said = site.worker(*scene.arguments)
    return said.status, said.err[-2000:]


def cases(exchanges: list[Exchange], *, every: int, exhaustive: bool):
    """Yield the requests to strike and the fault, all of them or a sample that has every fault."""
    faults = list(Fault)
    for exchange in exchanges:
        possible = [fault for fault in faults if exchange.writes or not fault.only_writes]
        if exhaustive:
            yield from ((exchange, fault) for fault in possible)
        elif (exchange.number - 1) % every == 0:
            turn = (exchange.number - 1) // every
            yield exchange, possible[turn % len(possible)]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", SCENES)
def test_one_fault_is_survived(name, server, exhaustive, count, tmp_path):
    """The command ends with 0, once, whole, and whichever request failed."""
    scene = SCENES[name](f"memory://{an_id()}", tmp_path / "scene")
    code, reason, violations, exchanges = play(scene, server, tmp_path, Plan())
    assert (0, []) == (code, violations), reason

    found = []
    for exchange, fault in cases(exchanges, every=SAMPLES[name], exhaustive=exhaustive):
        code, reason, violations, _ = play(
            scene, server, tmp_path, Plan(exchange.number, fault=fault)
        )
        count(name, f"{fault.value}: exit {code}")
        for violation in violations:
            count(name, f"violation: {violation.invariant.value}")
            found.append(f"{exchange}, {fault.value}: {violation}\n{reason}")
    assert not found, "\n".join(found)
