"""Web pages that use the gateway of the user who visits them."""

from datetime import UTC, datetime

import pytest
from attacks.conftest import KEYS
from attacks.signing import Signer
from attacks.wire import Wire, request, send_request

ELSEWHERE = "evil.example"
DELETE = b"<Delete><Object><Key>kept</Key></Object></Delete>"

REQUESTS = {
    "GET of an input": ("GET", "/labresults/a.txt", None),
    "HEAD of an input": ("HEAD", "/labresults/a.txt", None),
    "GET of the service": ("GET", "/", None),
    "GET of a listing": ("GET", "/labresults?list-type=2", None),
    "PUT of an object": ("PUT", "/out/kept", b"evil"),
    "POST that deletes": ("POST", "/out?delete", DELETE),
    "POST of a form": ("POST", "/out", b"evil"),
    "POST that creates an upload": ("POST", "/out/kept?uploads", b""),
    "DELETE of an object": ("DELETE", "/out/kept", None),
    "another method": ("FOO", "/out/kept", None),
    "the page": ("GET", "/-/", None),
    "metrics": ("GET", "/-/metrics", None),
    "a probe": ("GET", "/-/healthz", None),
    "HEAD of the page": ("HEAD", "/-/", None),
    "POST to the page": ("POST", "/-/", b""),
}
FOREIGN = {
    "a name bound to loopback": {"host": ELSEWHERE},
    "a name with a port": {"host": f"{ELSEWHERE}:9000"},
    "a bucket of another host": {"host": f"out.{ELSEWHERE}"},
    "a name that starts like ours": {"host": "localhost.evil.example"},
    "a name that starts like our address": {"host": "127.0.0.1.evil.example"},
    "a name that ends like ours": {"host": "notlocalhost"},
    "all addresses": {"host": "0.0.0.0:9000"},
    "all addresses of IPv6": {"host": "[::]"},
    "all addresses, mapped": {"host": "[::ffff:0.0.0.0]"},
    "another address": {"host": "192.0.2.1"},
    "another address, mapped": {"host": "[::ffff:192.0.2.1]"},
    "a user in the host": {"host": f"localhost@{ELSEWHERE}"},
    "a fragment in the host": {"host": f"localhost#.{ELSEWHERE}"},
    "a comma in the host": {"host": f"localhost,{ELSEWHERE}"},
    "two colons": {"host": f"localhost:80:{ELSEWHERE}"},
    "a scheme in the host": {"host": "http://localhost"},
    "half an address": {"host": "[::1"},
    "a forwarded host": {"host": ELSEWHERE, "x-forwarded-host": "localhost"},
    "a page of another site": {"origin": "https://evil.example"},
    "a page of the rebound name": {"host": ELSEWHERE, "origin": f"http://{ELSEWHERE}"},
    "a page without an origin": {"origin": "null"},
    "an empty origin": {"origin": ""},
    "a file": {"origin": "file://"},
    "an extension": {"origin": "chrome-extension://localhost"},
    "two origins": {"origin": "http://localhost, https://evil.example"},
    "a user in the origin": {"origin": "http://localhost@evil.example"},
    "a path in the origin": {"origin": "http://evil.example/localhost"},
    "a page of an address": {"origin": "http://192.0.2.1:9000"},
    "a link of another site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "another value of Sec-Fetch-Site": {"sec-fetch-site": "none, cross-site"},
}


@pytest.fixture(scope="module", autouse=True)
def kept(gateway):
    """An object that no page may change."""
    assert 200 == send_request(gateway.port, "PUT", "/out/kept", {}, b"kept").status
    before = [each.key for each in gateway.index.entries()]
    yield
    assert b"kept" == send_request(gateway.port, "GET", "/out/kept").body
    assert before == [each.key for each in gateway.index.entries()]
    assert [] == list(gateway.index.uploads())


def permits_nothing(reply):
    """Whether no header of a reply lets a page read it."""
    return not any(name.startswith("access-control-") for name in reply.headers)


def is_denied(reply, method):
    """Whether a reply is the refusal of a page."""
    code = "" if method == "HEAD" else "AccessDenied"
    return (403, code) == (reply.status, reply.code) and permits_nothing(reply)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_page_of_another_site_is_refused(gateway, name):
    """For every kind of request."""
    for asked, (method, target, body) in REQUESTS.items():
        reply = send_request(gateway.port, method, target, dict(FOREIGN[name]), body)

        assert is_denied(reply, method), (asked, reply)


@pytest.mark.parametrize(
    "form",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=b"},
    ],
    ids=["text", "urlencoded", "form data"],
)
def test_a_simple_request_of_a_page_is_refused(gateway, form):
    """Browsers send these without a preflight."""
    origin = {"origin": "https://evil.example", **form}

    assert is_denied(send_request(gateway.port, "POST", "/out?delete", origin, DELETE), "POST")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_preflight_of_a_page_permits_nothing(gateway, signed_gateway, name):
    """Not even if the address is that of a private network."""
    sent = {
        "origin": "https://evil.example",
        "access-control-request-method": "PUT",
        "access-control-request-private-network": "true",
        **FOREIGN[name],
    }
    for each in (gateway, signed_gateway):
        for target in ("/out/kept", "/out", "/", "/-/", "*"):
            reply = send_request(each.port, "OPTIONS", target, dict(sent))

            assert reply.status in (400, 403)
            assert permits_nothing(reply)


def test_a_target_in_absolute_form_names_the_host(gateway):
    """Whatever the Host says (RFC 9112, 3.2.2)."""
    for target, status in (
        (f"http://{ELSEWHERE}/labresults/a.txt", 403),
        (f"http://localhost@{ELSEWHERE}/labresults/a.txt", 403),
        (f"http://{ELSEWHERE}/-/metrics", 403),
        ("http://localhost/labresults/a.txt", 200),
    ):
        assert status == send_request(gateway.port, "GET", target).status, target


def test_a_request_to_upgrade_is_no_way_around(gateway):
    sent = {
        "origin": "https://evil.example",
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }

    assert is_denied(send_request(gateway.port, "GET", "/labresults/a.txt", sent), "GET")


def test_a_body_of_a_refused_page_is_not_invited(gateway):
    sent = {"host": ELSEWHERE, "expect": "100-continue", "content-length": "4"}
    with Wire(gateway.port) as wire:
        wire.send(request("PUT", "/out/kept", sent))

        assert is_denied(wire.reply("PUT"), "PUT")


OWN = {
    "a name": {"host": "localhost"},
    "a name with a port": {"host": "localhost:4242"},
    "the port of a tunnel": {"host": "127.0.0.1:80"},
    "an empty port": {"host": "localhost:"},
    "upper case": {"host": "LocalHost:9000"},
    "the dot of the root": {"host": "localhost.:9000"},
    "an address": {"host": "127.0.0.1:9000"},
    "another address of loopback": {"host": "127.8.9.10"},
    "IPv6": {"host": "[::1]:9000"},
    "IPv6 in full": {"host": "[0:0:0:0:0:0:0:1]"},
    "a mapped address": {"host": "[::ffff:127.0.0.1]:9000"},
    "a mapped address in hex": {"host": "[::FFFF:7f00:1]"},
    "a name below localhost": {"host": "nosuch.localhost"},
    "a forwarded host": {"x-forwarded-host": ELSEWHERE, "forwarded": f"host={ELSEWHERE}"},
    "a page of its own": {"host": "127.0.0.1:9000", "origin": "http://127.0.0.1:9000"},
    "a page of another port": {"host": "localhost:9000", "origin": "http://localhost:3000"},
    "a page of another name": {"host": "127.0.0.1:9000", "origin": "https://localhost"},
    "the user": {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    "a page of the same origin": {"sec-fetch-site": "same-origin"},
    "a page of the same site": {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
}


@pytest.mark.parametrize("name", OWN)
def test_a_host_of_its_own_is_served(gateway, name):
    for target in ("/labresults/a.txt", "/-/", "/-/metrics", "/-/healthz"):
        assert 200 == send_request(gateway.port, "GET", target, dict(OWN[name])).status, target


def test_a_bucket_before_a_host_of_its_own_is_served(gateway):
    for host in ("labresults.localhost:9000", "LABRESULTS.localhost.", "labresults.localhost"):
        reply = send_request(gateway.port, "GET", "/a.txt", {"host": host})

        assert (200, b"alpha") == (reply.status, reply.body), host


def test_two_hosts_are_malformed(gateway):
    with Wire(gateway.port) as wire:
        wire.send(b"GET /-/ HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")

        assert 400 == wire.reply().status


def test_a_request_without_a_host_is_served(gateway):
    """HTTP/1.0; every browser sends a Host."""
    with Wire(gateway.port) as wire:
        wire.send(b"GET /labresults/a.txt HTTP/1.0\r\n\r\n")

        assert b"alpha" == wire.reply().body


PAGES = [
    pytest.param({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, id="at loopback"),
    pytest.param({"upgrade-insecure-requests": "1", "accept": "text/html"}, id="elsewhere"),
]


@pytest.mark.parametrize("page", PAGES)
def test_an_object_is_no_page_of_the_gateway(gateway, signed_gateway, page):
    """A page in an input could otherwise use all buckets. Other clients get what S3 sends.

    What Chromium sends to a loopback address, and to another one without TLS.
    """
    for target in ("/labresults/a.txt", "/labresults/none", "/labresults"):
        reply = send_request(gateway.port, "GET", target, dict(page))
        policy = reply.headers["content-security-policy"].split()
        assert "sandbox" == policy[0]
        assert not {"allow-same-origin", "allow-forms"}.intersection(policy)

        reply = send_request(gateway.port, "GET", target)
        assert "content-security-policy" not in reply.headers
    signer = Signer(KEYS.access, KEYS.secret)
    reply = send_request(
        signed_gateway.port, "GET", signer.presigned("GET", "/labresults/a.txt"), page
    )
    assert (200, False) == (reply.status, "content-security-policy" in reply.headers)


SIGNED_ANYWHERE = ("localhost", "worker.jobs.svc:9000", ELSEWHERE, "192.0.2.1:80")


@pytest.mark.parametrize("host", SIGNED_ANYWHERE)
def test_a_signed_request_may_name_any_host(signed_gateway, host):
    """The Host is part of the signature, and no page has the keys."""
    signer = Signer(KEYS.access, KEYS.secret, host=host)
    sent = {**signer.headers("GET", "/labresults/a.txt"), "host": host}

    assert b"alpha" == send_request(signed_gateway.port, "GET", "/labresults/a.txt", sent).body


@pytest.mark.parametrize("host", SIGNED_ANYWHERE)
def test_a_presigned_url_may_be_opened_from_any_page(signed_gateway, host):
    """A link in a mail, an image in a notebook, a form of a page."""
    signer = Signer(KEYS.access, KEYS.secret, host=host, when=datetime.now(UTC))
    target = signer.presigned("GET", "/labresults/a.txt")
    for page in (
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    ):
        reply = send_request(signed_gateway.port, "GET", target, {"host": host, **page})

        assert b"alpha" == reply.body
        assert permits_nothing(reply)


def test_pages_of_other_sites_do_not_reach_the_probes_of_a_signed_gateway(signed_gateway):
    """Those of load balancers do, by any name."""
    for headers, status in (
        ({"host": "worker.jobs.svc:9000"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ):
        reply = send_request(signed_gateway.port, "GET", "/-/healthz", dict(headers))

        assert status == reply.status, headers
    for target in ("/-/", "/-/metrics"):
        assert 403 != send_request(signed_gateway.port, "GET", target).status != 200
