"""Requests of PutObjectAcl, which accepts only the access control list of every object."""

from worker.s3.error_codes import S3Error
from worker.s3.grants import check_grants, check_group, check_id, have_grants
from worker.s3.request import Request
from worker.s3.xml_requests import Element, parse_xml
from worker.s3.xml_responses import OWNER_ID

_PERMISSIONS = frozenset({"FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"})


def check_acl(request: Request, body: bytes) -> None:
    """Reject an ACL in PutObjectAcl other than that of every object.

    The latter is accepted, since s3cmd copies the ACL of an object with the object. Raises
    AccessControlListNotSupported, and S3's errors for a request that is not one ACL:
    MissingSecurityHeader, UnexpectedContent, MalformedACLError, InvalidArgument, InvalidRequest.
    """
    check_grants(request.headers)
    canned = request.headers.get("x-amz-acl")
    if not canned and not have_grants(request.headers):
        if not body:
            raise S3Error("MissingSecurityHeader", MissingHeaderName="x-amz-acl")
        if not _is_owners(_grants(body)):
            raise S3Error("AccessControlListNotSupported")
        return
    if body:
        raise S3Error("UnexpectedContent")
    if canned not in ("private", "bucket-owner-full-control"):
        raise S3Error("AccessControlListNotSupported")


def _grants(body: bytes) -> list[tuple[Element, str]]:
    """Return each grantee of a valid document, with its permission."""
    try:
        policy = parse_xml(body, "AccessControlPolicy")
    except S3Error as error:
        raise S3Error("MalformedACLError", error.message) from None
    owner = next(policy.all("Owner"), None)
    if owner is None or not any(policy.all("AccessControlList")):
        raise S3Error("MalformedACLError")
    grants = [
        _grant(grant) for grants in policy.all("AccessControlList") for grant in grants.all("Grant")
    ]
    check_id("CanonicalUser/ID", owner.get("ID") or "")
    for grantee, _permission in grants:
        if grantee.kind == "CanonicalUser":
            check_id("CanonicalUser/ID", grantee.get("ID") or "")
        elif grantee.kind == "Group":
            check_group("Group/URI", grantee.get("URI") or "")
    return grants


def _grant(grant: Element) -> tuple[Element, str]:
    grantee, permission = next(grant.all("Grantee"), None), grant.get("Permission")
    if (
        grantee is None
        or grantee.kind not in ("CanonicalUser", "Group", "AmazonCustomerByEmail")
        or permission not in _PERMISSIONS
    ):
        raise S3Error("MalformedACLError")
    return grantee, permission


def _is_owners(grants: list[tuple[Element, str]]) -> bool:
    return bool(grants) and all(
        permission == "FULL_CONTROL" and grantee.get("ID") == OWNER_ID
        for grantee, permission in grants
    )
