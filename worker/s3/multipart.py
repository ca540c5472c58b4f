"""Multipart uploads: ids, part numbers, and the validation of a completion."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import attrs

from worker.model import Checksum, StoredPart, Upload
from worker.s3.checksums import (
    ALGORITHMS,
    COMPOSITE,
    DEFAULT_ALGORITHM,
    FULL_OBJECT,
    Algorithm,
    checksum_type,
    combine,
    composite,
    decode,
    sent_checksum,
)
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request
from worker.text import parse_integer

MIN_PART = 5 * 1024 * 1024
MAX_PART_NUMBER = 10_000

_COUNT = re.compile(r"-[0-9]{1,10}", re.ASCII)
"""The number of parts at the end of a composite checksum."""


@attrs.frozen
class ListedPart:
    """A part in the body of CompleteMultipartUpload."""

    number: int
    etag: str
    """Without quotes."""
    checksums: Mapping[str, str] = attrs.field(factory=dict)
    """By algorithm."""


@attrs.frozen
class Completion:
    """The object that an upload is completed to."""

    parts: tuple[StoredPart, ...]
    size: int
    etag: str
    checksum: Checksum


def upload_id(now: int, random: bytes) -> str:
    """Return a new upload id; *now* is in milliseconds, and ids sort by it."""
    packed = now.to_bytes(6, "big") + random
    return base64.b32hexencode(packed).decode().rstrip("=").lower()


UPLOAD_ID = re.compile(r"[0-9a-v]{39}", re.ASCII)
"""The form of an upload id."""


def part_number(request: Request) -> int:
    """Return the query parameter partNumber, 1 to 10,000; raises InvalidArgument."""
    value = request.params.get("partNumber", "")
    number = parse_integer(value)
    if number is not None and 1 <= number <= MAX_PART_NUMBER:
        return number
    raise invalid_argument(
        "partNumber",
        value,
        f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive",
    )


def etag_of(part_etags: Sequence[str]) -> str:
    """Return the ETag of a multipart object: the MD5 of its parts' MD5s, and their number."""
    digests = b"".join(bytes.fromhex(etag) for etag in part_etags)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_etags)}"


def is_completed_by(listed: Sequence[ListedPart], etag: str) -> bool:
    """Whether the *listed* parts are those of the multipart object with *etag*."""
    try:
        return etag_of([each.etag for each in listed]) == etag
    except ValueError:
        return False


def complete(
    listed: Sequence[ListedPart],
    uploaded: Mapping[int, StoredPart],
    upload: Upload,
    request: Request,
) -> Completion:
    """Return the object of the *listed* parts; raises S3Error if the list is invalid.

    *uploaded* has the parts of the upload by number. A size or checksum in the headers of *request*
    is compared with that of the object.
    """
    stated = _stated_checksum(request)
    expected_size = _stated_size(request)
    _check_order(listed, upload)
    _check_type(request, upload)
    parts = tuple(_find_part(each, uploaded, upload) for each in listed)
    for part in parts[:-1]:
        if part.size < MIN_PART:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=part.size,
                MinSizeAllowed=MIN_PART,
                PartNumber=part.number,
                ETag=part.etag,
            )
    size = sum(part.size for part in parts)
    if expected_size not in (None, size):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {expected_size} does not match what "
            f"was computed: {size}",
        )
    etag = etag_of([part.etag for part in parts])
    checksum = _object_checksum(upload, parts, listed)
    _check_object_checksum(request, stated, upload, checksum)
    return Completion(parts, size, etag, checksum)


def _check_order(listed: Sequence[ListedPart], upload: Upload) -> None:
    for before, following in pairwise(listed):
        if following.number <= before.number:
            raise S3Error("InvalidPartOrder", UploadId=upload.id)


def _find_part(
    listed: ListedPart, uploaded: Mapping[int, StoredPart], upload: Upload
) -> StoredPart:
    part = uploaded.get(listed.number)
    if part is None or part.etag != listed.etag:
        raise _invalid_part(listed, upload)
    if listed.checksums and upload.algorithm is None:
        # Also the correct checksum: the parts of such an upload have none.
        raise _invalid_part(listed, upload)
    for algorithm, value in listed.checksums.items():
        if algorithm != upload.algorithm:
            raise S3Error(
                "BadDigest",
                f"The {algorithm.lower()} you specified for part {listed.number} did not match "
                "what we received.",
            )
        if part.checksum is not None and part.checksum.value != value:
            raise _invalid_part(listed, upload)
    return part


def _invalid_part(listed: ListedPart, upload: Upload) -> S3Error:
    return S3Error("InvalidPart", UploadId=upload.id, PartNumber=listed.number, ETag=listed.etag)


def _stated_size(request: Request) -> int | None:
    stated = request.headers.get("x-amz-mp-object-size")
    if stated is None:
        return None
    size = parse_integer(stated, signs="-", digits=18)
    if size is None:
        raise S3Error(
            "InvalidRequest", f"Value for x-amz-mp-object-size header is invalid: '{stated[:40]}'"
        )
    if size < 0:
        raise S3Error(
            "InvalidRequest",
            f"Value for x-amz-mp-object-size header is less than zero: '{stated}'",
        )
    return size


def _stated_checksum(request: Request) -> tuple[Algorithm, str] | None:
    """Return the algorithm and value of the object's checksum in the headers; None without one.

    A composite checksum may end in the number of parts. Raises InvalidRequest.
    """
    checksum_type(request)
    stated = sent_checksum(request)
    if stated is None:
        return None
    algorithm, value = stated
    digest, minus, _ = value.partition("-")
    has_count = COMPOSITE in algorithm.types and _COUNT.fullmatch(value[len(digest) :])
    decode(algorithm, digest if has_count or not minus else value)
    return stated


def _object_checksum(
    upload: Upload, parts: Sequence[StoredPart], listed: Sequence[ListedPart]
) -> Checksum:
    algorithm = upload.algorithm or DEFAULT_ALGORITHM
    kind = upload.checksum_type or ALGORITHMS[algorithm].types[0]
    values = []
    for part, each in zip(parts, listed, strict=True):
        if part.checksum is None or part.checksum.algorithm != algorithm:
            raise _missing_checksum(upload, each)
        if upload.algorithm and kind == COMPOSITE and algorithm not in each.checksums:
            raise _missing_checksum(upload, each)
        values.append(part.checksum.value)
    if kind == FULL_OBJECT:
        return combine(
            algorithm, ((value, part.size) for value, part in zip(values, parts, strict=True))
        )
    return composite(algorithm, values)


def _missing_checksum(upload: Upload, listed: ListedPart) -> S3Error:
    algorithm = (upload.algorithm or DEFAULT_ALGORITHM).lower()
    return S3Error(
        "InvalidRequest",
        f"The upload was created using a {algorithm} checksum. The complete request must include "
        f"the checksum for each part. It was missing for part {listed.number} in the request.",
    )


def _check_type(request: Request, upload: Upload) -> None:
    """Reject another checksum type than that of the upload; raises InvalidRequest."""
    kind = checksum_type(request)
    if kind is not None and kind != upload.checksum_type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'null'} checksum mode. The "
            "complete request must use the same checksum mode.",
        )


def _check_object_checksum(
    request: Request, stated: tuple[Algorithm, str] | None, upload: Upload, checksum: Checksum
) -> None:
    """Compare the checksum *stated* in the headers; raises BadDigest.

    As in S3, a value is that of the full object only if the request has the checksum type
    FULL_OBJECT, and any value in another algorithm than that of the upload is wrong. An upload
    without an algorithm has no type, and values in other algorithms than its default are ignored.
    """
    if stated is None:
        return
    algorithm, value = stated
    if algorithm.name != checksum.algorithm:
        matches = upload.algorithm is None
    elif checksum.type == COMPOSITE:
        # SDKs may omit the number of parts at the end of a composite checksum.
        matches = value in (checksum.value, checksum.value.partition("-")[0])
    else:
        has_type = checksum_type(request) is not None
        matches = value == checksum.value and (has_type or upload.algorithm is None)
    if not matches:
        raise S3Error(
            "BadDigest",
            f"The {checksum.algorithm.lower()} you specified did not match the calculated "
            "checksum.",
        )
