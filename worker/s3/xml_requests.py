"""XML request bodies parsed into values."""

import attrs

from worker.s3.conditions import Conditions, etags, moment
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.metadata import check_tags
from worker.s3.multipart import MAX_PART_NUMBER, ListedPart
from worker.s3.request import Request
from worker.s3.xml import Element, malformed, parse
from worker.s3.xml_responses import OWNER_ID

MAX_DELETE = 1000

# The elements of a part in CompleteMultipartUpload, by algorithm.
CHECKSUM_ELEMENTS = {
    f"Checksum{algorithm}": algorithm
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
}


@attrs.frozen
class ObjectToDelete:
    """One object of a DeleteObjects request."""

    key: str
    version: str | None
    conditions: Conditions

    @property
    def refusal(self) -> S3Error | None:
        """The error of a version that cannot be: objects here have none but ``null``."""
        if self.version in (None, "", "null"):
            return None
        return S3Error("NoSuchVersion", Key=self.key, VersionId=self.version)


@attrs.frozen
class DeleteRequest:
    """The body of DeleteObjects."""

    objects: tuple[ObjectToDelete, ...]
    quiet: bool


def parse_delete(body: bytes) -> DeleteRequest:
    """Return what is to be deleted, 1 to 1,000 objects; raises MalformedXML."""
    root = parse(body, "Delete")
    objects = tuple(_to_delete(found) for found in root.all("Object"))
    if not objects or len(objects) > MAX_DELETE:
        raise malformed(
            f"A DeleteObjects request names 1 to {MAX_DELETE} objects; found {len(objects)}."
        )
    return DeleteRequest(objects, (root.get("Quiet") or "").strip().lower() == "true")


def _to_delete(found: Element) -> ObjectToDelete:
    key = found.get("Key")
    if not key:
        raise malformed()
    etag = found.get("ETag")
    size = found.get("Size")
    modified = found.get("LastModifiedTime")
    return ObjectToDelete(
        key,
        found.get("VersionId"),
        Conditions(
            if_match=None if etag is None else etags(etag),
            if_size=None if size is None else _number(size),
            if_last_modified=None if modified is None else _moment(modified),
        ),
    )


def parse_complete(body: bytes) -> tuple[ListedPart, ...]:
    """Return the parts in the order listed, at least one; raises MalformedXML."""
    root = parse(body, "CompleteMultipartUpload")
    parts = tuple(_listed_part(found) for found in root.all("Part"))
    if not parts or len(parts) > MAX_PART_NUMBER:
        raise malformed()
    return parts


def _listed_part(found: Element) -> ListedPart:
    number, etag = found.get("PartNumber"), found.get("ETag")
    if number is None or etag is None:
        raise malformed()
    value = _number(number)
    if value < 1:
        raise invalid_argument("PartNumber", number.strip(), "PartNumber must be >= 1")
    return ListedPart(
        value,
        etag.strip().strip('"'),
        {
            CHECKSUM_ELEMENTS[child.name]: child.text.strip()
            for child in found.children
            if child.name in CHECKSUM_ELEMENTS
        },
    )


def parse_tagging(body: bytes) -> dict[str, str]:
    """Return the tags of PutObjectTagging; raises MalformedXML, InvalidTag, BadRequest."""
    root = parse(body, "Tagging")
    tag_set = next(root.all("TagSet"), None)
    if tag_set is None:
        raise malformed()
    pairs = []
    for tag in tag_set.all("Tag"):
        key, value = tag.get("Key"), tag.get("Value")
        if key is None or value is None:
            raise malformed()
        pairs.append((key, value))
    return check_tags(pairs)


def check_acl(request: Request, body: bytes) -> None:
    """Refuse the access rights of PutObjectAcl, unless they are those that every object has.

    s3cmd reads the rights of what it copies and writes them to the copy.
    """
    canned = request.headers.get("x-amz-acl")
    granted = any(name.startswith("x-amz-grant-") for name in request.headers)
    if canned in ("private", "bucket-owner-full-control") and not granted:
        return
    if canned or granted or not _is_owners(parse(body, "AccessControlPolicy")):
        raise S3Error("AccessControlListNotSupported")


def _is_owners(policy: Element) -> bool:
    grants = [grant for grants in policy.all("AccessControlList") for grant in grants.all("Grant")]
    return bool(grants) and all(
        grant.get("Permission") == "FULL_CONTROL"
        and [OWNER_ID] == [grantee.get("ID") for grantee in grant.all("Grantee")]
        for grant in grants
    )


def _number(value: str) -> int:
    digits = value.strip()
    sign = digits[:1] in ("-", "+")
    if not (digits[sign:].isascii() and digits[sign:].isdigit() and len(digits) <= 20):
        raise malformed()
    return int(digits)


def _moment(value: str) -> int:
    found = moment(value)
    if found is None:
        raise malformed()
    return found
