"""Headers of features that the gateway does not have: encryption, Object Lock, storage classes."""

from collections.abc import Mapping
from datetime import datetime

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.grants import check_grants
from worker.s3.request import Request

STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
        "SNOW",
        "EXPRESS_ONEZONE",
        "FSX_OPENZFS",
        "FSX_ONTAP",
    }
)

_SSE = "x-amz-server-side-encryption"
_NO_ENCRYPTION = (
    "A header you provided implies functionality that is not implemented: this gateway does not "
    "encrypt objects with keys of their own."
)
NOT_ENCRYPTED = "The encryption parameters are not applicable to this object."

# Headers whose effect a client relies on are rejected, not ignored. x-amz-acl, the storage class
# and the encryption "AES256" have no effect that a job could observe.
REJECTED_HEADERS: Mapping[str, tuple[str, str]] = {
    f"{_SSE}-customer-algorithm": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-customer-key": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-customer-key-md5": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-aws-kms-key-id": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-context": ("NotImplemented", _NO_ENCRYPTION),
    f"x-amz-copy-source-{_SSE[6:]}-customer-algorithm": ("InvalidRequest", NOT_ENCRYPTED),
}

_CUSTOMER_KEY = frozenset(f"{_SSE}-customer-{name}" for name in ("algorithm", "key", "key-md5"))
_LOCK = "x-amz-object-lock-"
_LOCK_MODES = ("GOVERNANCE", "COMPLIANCE")
_HOLDS = ("ON", "OFF")


def check_supported(request: Request) -> None:
    """Reject headers of a write that require unsupported features; raises S3Error."""
    headers = request.headers
    for name, (code, message) in REJECTED_HEADERS.items():
        if name in headers:
            raise S3Error(code, message, Header=name)
    if any(name.startswith(_LOCK) for name in headers):
        raise _lock_error(request)
    encryption = headers.get(_SSE)
    if encryption is not None and encryption != "AES256":
        if encryption.startswith("aws:"):
            raise S3Error("NotImplemented", _NO_ENCRYPTION, Header=_SSE)
        raise invalid_argument(_SSE, encryption, "The encryption method specified is not supported")
    check_grants(headers)
    storage_class = headers.get("x-amz-storage-class")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)


def _lock_error(request: Request) -> S3Error:
    """Return the error for headers of Object Lock, which no bucket has; invalid ones come first."""
    headers = request.headers
    mode, until = headers.get(f"{_LOCK}mode"), headers.get(f"{_LOCK}retain-until-date")
    hold = headers.get(f"{_LOCK}legal-hold")
    if (mode is None) != (until is None):
        missing = f"{_LOCK}mode" if mode is None else f"{_LOCK}retain-until-date"
        return invalid_argument(
            missing,
            None,
            f"{_LOCK}retain-until-date and {_LOCK}mode must both be supplied",
        )
    if mode is not None and mode not in _LOCK_MODES:
        return invalid_argument(f"{_LOCK}mode", mode, "Unknown wormMode directive.")
    if until is not None and not _is_iso(until):
        return invalid_argument(
            f"{_LOCK}retain-until-date",
            until,
            "The retain until date must be provided in ISO 8601 format",
        )
    if hold is not None and hold not in _HOLDS:
        return invalid_argument(
            f"{_LOCK}legal-hold", hold, "Legal Hold must be either of 'ON' or 'OFF'"
        )
    if request.method == "PUT" and not any(
        name in ("content-md5", "x-amz-trailer", "x-amz-copy-source")
        or name.startswith("x-amz-checksum-")
        for name in headers
    ):
        return S3Error(
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with "
            "Object Lock parameters",
        )
    return S3Error("InvalidRequest", "Bucket is missing ObjectLockConfiguration")


def _is_iso(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def check_part_supported(request: Request) -> None:
    """Reject customer keys of a part, since no upload has one; raises InvalidRequest."""
    if any(name.startswith(f"{_SSE}-customer-") for name in request.headers):
        raise S3Error(
            "InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must "
            "include the appropriate encryption parameters.",
        )
    if any(name.startswith(f"x-amz-copy-source-{_SSE[6:]}-customer-") for name in request.headers):
        raise S3Error("InvalidRequest", NOT_ENCRYPTED)


def check_customer_key(headers: Mapping[str, str]) -> None:
    """Reject the customer's key of a read, since no object has one; raises InvalidRequest."""
    if not _CUSTOMER_KEY.isdisjoint(headers):
        raise S3Error("InvalidRequest", NOT_ENCRYPTED)


def check_retention(request: Request) -> None:
    """Reject a delete that would bypass Object Lock, which no bucket has, whatever its value."""
    name = "x-amz-bypass-governance-retention"
    if name in request.headers:
        raise invalid_argument(
            name, None, f"{name} is only applicable to Object Lock enabled buckets."
        )
