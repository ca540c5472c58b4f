"""The hosts of a gateway, and the pages that may use it without authentication."""

import pytest
from s3.protocol_builders import raises_s3_error

from worker.gateway.cross_site import OwnHosts, check_host, check_page

BUCKETS = ("labresults", "out")


@pytest.mark.parametrize(
    ("listening", "host", "found"),
    [
        pytest.param("10.1.2.3", "10.1.2.3:9000", "10.1.2.3", id="its address"),
        pytest.param("10.1.2.3", "10.1.2.4", None, id="another address"),
        pytest.param("10.1.2.3", "[::ffff:10.1.2.3]", "10.1.2.3", id="its address, mapped"),
        pytest.param("10.1.2.3", "localhost", "localhost", id="loopback"),
        pytest.param("10.1.2.3", "out.10.1.2.3", None, id="nothing is below an address"),
        pytest.param("FD00::0:1", "[fd00:0::1]:9000", "fd00::1", id="its address of IPv6"),
        pytest.param("::", "[fd00::1]", "fd00::1", id="all of IPv6"),
        pytest.param("0.0.0.0", "203.0.113.7:80", "203.0.113.7", id="all: one that forwards"),
        pytest.param("0.0.0.0", "0.0.0.0", None, id="all: the wildcard"),
        pytest.param("0.0.0.0", "evil.example", None, id="all: a name"),
        pytest.param("0.0.0.0", "out.localhost", "localhost", id="all: a bucket"),
        pytest.param("Worker.jobs", "worker.JOBS.:9000", "worker.jobs", id="its name"),
        pytest.param("worker.jobs", "out.worker.jobs", "worker.jobs", id="a bucket of its name"),
        pytest.param("worker.jobs", "Labresults.worker.jobs", "worker.jobs", id="in upper case"),
        pytest.param("worker.jobs", "other.worker.jobs", None, id="no bucket of its name"),
        pytest.param("worker.jobs", "out.out.worker.jobs", None, id="two buckets"),
        pytest.param("worker.jobs", "jobs", None, id="half of its name"),
        pytest.param("worker.jobs", "worker_jobs", None, id="a name like it"),
        pytest.param("worker.jobs", "worker.jobs:80 ", None, id="a space behind the port"),
        pytest.param("worker.jobs", "worker.jobs:123456", None, id="a port of six digits"),
        pytest.param("worker.jobs", "worker.jobs:\u00b2", None, id="a port in superscript"),
        pytest.param("worker.jobs", "wor\u212aer.jobs", None, id="a letter that folds to another"),
        pytest.param("127.0.0.1", "127.1", None, id="an address that no browser sends"),
        pytest.param("127.0.0.1", "2130706433", None, id="an address as a number"),
        pytest.param("127.0.0.1", "[127.0.0.1]", "127.0.0.1", id="an address in brackets"),
        pytest.param("127.0.0.1", "[localhost]", None, id="a name in brackets"),
        pytest.param("127.0.0.1", "localhost..", None, id="two dots of the root"),
        pytest.param("127.0.0.1", ".localhost", ".localhost", id="an empty name below localhost"),
        pytest.param("127.0.0.1", "", None, id="no host"),
    ],
)
def test_the_hosts_of_a_gateway_are_known(listening, host, found):
    assert found == OwnHosts.of([listening], BUCKETS).find(host)


def test_a_request_without_a_host_is_accepted():
    """No browser sends one."""
    check_host("", OwnHosts.of([], BUCKETS))


LOOPBACK = ("127.0.0.1", "127.0.0.1:9000")
ADDRESS = ("10.1.2.3", "10.1.2.3:9000")
WILDCARD = ("0.0.0.0", "10.1.2.3:9000")
NAME = ("worker.jobs", "out.worker.jobs:9000")


@pytest.mark.parametrize(
    ("listening", "host", "origin"),
    [
        pytest.param(*LOOPBACK, "http://localhost", id="localhost"),
        pytest.param(*LOOPBACK, "http://localhost:3000", id="another port"),
        pytest.param(*LOOPBACK, "https://out.localhost:9000", id="a bucket"),
        pytest.param(*LOOPBACK, "http://127.1.2.3", id="another address of loopback"),
        pytest.param(*LOOPBACK, "http://[::1]:9000", id="IPv6"),
        pytest.param(*ADDRESS, "http://10.1.2.3", id="its address"),
        pytest.param(*WILDCARD, "http://10.1.2.3:9000", id="its address, of all"),
        pytest.param(*NAME, "https://worker.jobs", id="its name"),
        pytest.param(*NAME, "https://labresults.worker.jobs", id="another bucket"),
    ],
)
def test_a_page_of_the_same_host_may_use_the_gateway(listening, host, origin):
    check_page(host, {"origin": origin}, OwnHosts.of([listening], BUCKETS))


@pytest.mark.parametrize(
    ("listening", "host", "origin"),
    [
        pytest.param(*LOOPBACK, "https://example.com", id="another host"),
        pytest.param(*LOOPBACK, "http://localhost.example.com", id="a name that starts like it"),
        pytest.param(*LOOPBACK, "http://127.0.0.1.example.com", id="an address in a name"),
        pytest.param(*LOOPBACK, "http://[::1", id="half an address"),
        pytest.param(*LOOPBACK, "null", id="an opaque origin"),
        pytest.param(*LOOPBACK, "", id="an empty one"),
        pytest.param(*LOOPBACK, "file://", id="a file"),
        pytest.param(*LOOPBACK, "localhost", id="no URL"),
        pytest.param(*LOOPBACK, "http://0.0.0.0:9000", id="all addresses"),
        pytest.param(*ADDRESS, "http://localhost", id="loopback of another machine"),
        pytest.param(*WILDCARD, "http://203.0.113.7", id="another address, of all"),
        pytest.param("example.com", "localhost", "http://example.com", id="its other name"),
        pytest.param("127.0.0.1", "", "http://localhost", id="a request without a host"),
    ],
)
def test_a_page_of_another_host_may_not(listening, host, origin):
    with raises_s3_error("AccessDenied"):
        check_page(host, {"origin": origin}, OwnHosts.of([listening], BUCKETS))
