"""Grants of access in headers, and their grantees: checked as by S3, but without an effect."""

import re
from collections.abc import Mapping

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.xml_responses import OWNER_ID

CANNED_ACLS = frozenset(
    {
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    }
)

_HEADER = "x-amz-grant-"
_GROUPS = frozenset(
    f"http://acs.amazonaws.com/groups/{name}"
    for name in ("global/AllUsers", "global/AuthenticatedUsers", "s3/LogDelivery")
)
_CANONICAL_ID = re.compile("[0-9a-f]{64}")
_GRANTEE = re.compile(r"""\s*(id|uri|emailAddress)\s*=\s*("[^"]*"|[^",]*)\s*""", re.IGNORECASE)


def have_grants(headers: Mapping[str, str]) -> bool:
    """Return whether one of the headers is a grant."""
    return any(name.startswith(_HEADER) for name in headers)


def check_grants(headers: Mapping[str, str]) -> None:
    """Reject an unknown canned ACL, one beside grants, and an invalid grant; raises S3Error."""
    canned = headers.get("x-amz-acl")
    if canned:
        if have_grants(headers):
            raise S3Error(
                "InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed"
            )
        if canned not in CANNED_ACLS:
            # S3 has no message for it.
            raise invalid_argument("x-amz-acl", canned, "")
    for name, value in headers.items():
        if name.startswith(_HEADER) and value:
            _check_grant(name, value)


def _check_grant(name: str, value: str) -> None:
    for each in value.split(","):
        found = _GRANTEE.fullmatch(each)
        if found is None:
            raise invalid_argument(name, value, "Argument format not recognized")
        kind, grantee = found[1].lower(), found[2].strip().strip('"')
        if kind == "id":
            check_id("id", grantee)
        elif kind == "uri":
            check_group("uri", grantee)


def check_id(name: str, value: str) -> None:
    """Reject what is not the ID of an account; raises InvalidArgument with the *name*."""
    if value != OWNER_ID and not _CANONICAL_ID.fullmatch(value):
        raise invalid_argument(name, value, "Invalid id")


def check_group(name: str, value: str) -> None:
    """Reject what is not a predefined group; raises InvalidArgument with the *name*."""
    if value not in _GROUPS:
        raise invalid_argument(name, value, "Invalid group uri")
