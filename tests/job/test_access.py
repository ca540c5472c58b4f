"""Access to the gateway of a run."""

import socket

import pytest

from worker.gateway.cross_site import OwnHosts
from worker.job.access import own_hosts


@pytest.mark.parametrize(
    ("listening", "served"),
    [
        pytest.param("127.0.0.1", False, id="loopback"),
        pytest.param("10.1.2.3", False, id="an address"),
        pytest.param("0.0.0.0", True, id="all addresses"),
        pytest.param("::", True, id="all addresses of IPv6"),
    ],
)
def test_the_name_of_the_machine_is_that_of_a_gateway_on_all_addresses(listening, served):
    """It may lead to another address than the one that a gateway listens on."""
    hosts = OwnHosts.of(own_hosts(listening), ())

    assert served == (hosts.find(f"{socket.gethostname()}:9000") is not None)
    assert hosts.find("localhost")


def test_a_gateway_is_served_by_the_name_that_it_listens_on():
    assert "worker.jobs.svc" == OwnHosts.of(own_hosts("worker.jobs.svc"), ()).find(
        "worker.jobs.svc:9000"
    )
