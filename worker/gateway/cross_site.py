"""Requests that web pages of other sites make a browser send.

A browser sends requests of any page to any address, also to loopback, and a page can resolve a name
of its own to such an address (DNS rebinding). Where requests are not signed, their head is all that
tells them apart: a browser always sends the Host of the URL, and it adds the Origin of the page to
requests that could change something, and Sec-Fetch-Site to every request for a trustworthy address
such as loopback (Fetch Metadata, W3C). A page can set none of the three. No other client sends the
last two.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

from worker.config import is_loopback
from worker.s3.error_codes import S3Error
from worker.s3.request import virtual_bucket

REMEDY = 'or set gateway.auth = "sigv4".'
SAME_SITE = ("none", "same-origin", "same-site")
"""Values of Sec-Fetch-Site of requests that no page of another site causes; ``none`` is a request
of the user, who entered the URL."""
SANDBOX = (b"content-security-policy", b"sandbox allow-scripts allow-popups allow-downloads")
"""The header of a response that makes its content a page without an origin (CSP 3, 6.4.2).

Otherwise a page that is stored in an input could use the gateway when a user opens it.
"""
SHOWN = 255
"""Characters of a value that an error shows."""

# With an optional port (RFC 9110, 7.2). Browsers write addresses in their usual form.
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z_.-]+))(?::[0-9]{0,5})?", re.A | re.I)
_ORIGIN = re.compile(r"https?://([^/?#@]+)")


def host_of(authority: str) -> str | None:
    """Return the host of ``host:port`` in canonical form; None if it is not a name or address.

    Names are in lower case and without the dot of the root; an IPv4-mapped address is the IPv4 one.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    name = (match.group(1) or match.group(2)).lower().removesuffix(".")
    address = _address(name)
    if address is None:
        return name if match.group(1) is None else None
    return str(address)


@lru_cache(maxsize=64)
def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_loopback(host: str) -> bool:
    # All names below localhost are loopback (RFC 6761, 6.3).
    return host.endswith(".localhost") or is_loopback(host)


@attrs.frozen
class OwnHosts:
    """The hosts at which clients reach a gateway; those of loopback are always among them."""

    _names: frozenset[str]
    """Names and addresses in canonical form."""
    _any_address: bool
    """Whether the gateway listens on all addresses of its machine."""
    _buckets: frozenset[str]
    """The names of the buckets, which may precede a host name."""

    @classmethod
    def of(cls, listening: Iterable[str], buckets: Collection[str]) -> "OwnHosts":
        """Return the hosts of a gateway that listens at these names and addresses."""
        addresses = {each: _address(each) for each in listening}
        return cls(
            frozenset(str(found or name.lower()) for name, found in addresses.items()),
            any(found is not None and found.is_unspecified for found in addresses.values()),
            frozenset(buckets),
        )

    def find(self, authority: str) -> str | None:
        """Return the host in ``host:port`` without a bucket, if it is one of these; else None.

        If the gateway listens on all addresses, any of them may be its own, also that of a machine
        that forwards to it. No page can resolve an address to another one; but ``0.0.0.0`` leads
        to loopback in a browser.
        """
        host = host_of(authority)
        if host is None:
            return None
        address = _address(host)
        if address is not None:
            is_own = self._any_address or address.is_loopback or host in self._names
            return host if is_own and not address.is_unspecified else None
        bucket = virtual_bucket(host, self._buckets)
        if bucket is not None and _address(host[len(bucket) + 1 :]) is None:
            host = host[len(bucket) + 1 :]
        return host if host in self._names or _is_loopback(host) else None


def check_host(host: str, hosts: OwnHosts) -> None:
    """Reject a request for a *host* that is not one of *hosts*; raises AccessDenied.

    A request without a Host (HTTP/1.0) comes from no browser.
    """
    if host and hosts.find(host) is None:
        raise S3Error(
            "AccessDenied",
            f"Access Denied: {host!r} is no host of this gateway, which has no authentication and "
            "so is not served by names that another site could use; use localhost or the address "
            f"that the gateway listens on, {REMEDY}",
        )


def check_page(host: str, headers: Mapping[str, str], hosts: OwnHosts) -> None:
    """Reject a request for *host* that a page of another site has caused; raises AccessDenied."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in SAME_SITE:
        raise _foreign(f"a page of another site (Sec-Fetch-Site: {site[:SHOWN]!r})")
    origin = headers.get("origin")
    if origin is not None and not _is_own_page(origin, host, hosts):
        raise _foreign(f"a page of another site (Origin: {origin[:SHOWN]!r})")


def is_of_browser(headers: Mapping[str, str]) -> bool:
    """Whether a browser has sent a request, which may show the response as a page.

    Without TLS, a browser sends Fetch Metadata to loopback addresses only; but it says of each page
    that it prefers https (Upgrade Insecure Requests, 3.2.1).
    """
    return "sec-fetch-site" in headers or "upgrade-insecure-requests" in headers


def _is_own_page(origin: str, host: str, hosts: OwnHosts) -> bool:
    match = _ORIGIN.fullmatch(origin)
    page = None if match is None else hosts.find(match.group(1))
    own = hosts.find(host)
    if page is None or own is None:
        return False
    # Every address of a machine may be a host, but not every page of an address is its own.
    return page == own or (_is_loopback(page) and _is_loopback(own))


def _foreign(page: str) -> S3Error:
    return S3Error(
        "AccessDenied",
        f"Access Denied: {page} may not use a gateway without authentication; enter the URL in the "
        f"browser, serve the page from the host of the gateway, {REMEDY}",
    )
