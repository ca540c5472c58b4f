"""Invalid multipart uploads."""

# ruff: noqa: E501 - a case is a row

from attacks.cases import (
    OTHER_ETAG,
    PART_ETAG,
    SMALL_ETAG,
    TRAILER_MODE,
    WRONG_SHA256,
    Case,
    complete,
    zeros,
)

MULTIPART = [
    Case("create, unknown checksum", "POST", "/out/new?uploads", 400, "InvalidRequest", {"x-amz-checksum-algorithm": "MD4"}),
    Case("create, a type alone", "POST", "/out/new?uploads", 400, "InvalidRequest", {"x-amz-checksum-type": "COMPOSITE"}),
    Case("create, a type that does not fit", "POST", "/out/new?uploads", 400, "InvalidRequest", {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"}),
    Case("create, another type that does not fit", "POST", "/out/new?uploads", 400, "InvalidRequest", {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"}),
    Case("create, an unknown type", "POST", "/out/new?uploads", 400, "InvalidRequest", {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"}),
    Case("create, large metadata", "POST", "/out/new?uploads", 400, "MetadataTooLarge", {"x-amz-meta-a": "x" * 2048}),
    Case("create, in an input", "POST", "/labresults/new?uploads", 403, "AccessDenied"),
    Case("create, in no bucket", "POST", "/nowhere/new?uploads", 404, "NoSuchBucket"),
    *(
        Case(f"part, number {number!r}", "PUT", f"/out/big?partNumber={number}&uploadId={{upload}}", 400, "InvalidArgument", {}, b"x")
        for number in ("0", "-1", "10001", "one", "", "1.0", "+1")
    ),
    Case("part, of no upload", "PUT", "/out/big?partNumber=1&uploadId=none", 404, "NoSuchUpload", {}, b"x", {"UploadId": "none"}),
    Case("part, of another key", "PUT", "/out/there?partNumber=1&uploadId={upload}", 404, "NoSuchUpload", {}, b"x"),
    Case("part, in an input", "PUT", "/labresults/big?partNumber=1&uploadId={upload}", 403, "AccessDenied", {}, b"x"),
    Case("part, wrong MD5", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "BadDigest", {"content-md5": zeros(16)}, b"x"),
    Case("part, wrong SHA-256", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "XAmzContentSHA256Mismatch", {"x-amz-content-sha256": WRONG_SHA256}, b"x"),
    Case("part, wrong CRC32", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "BadDigest", {"x-amz-checksum-crc32": zeros(4)}, b"x"),
    Case("part, another checksum than the upload's", "PUT", "/out/summed?partNumber=1&uploadId={summed}", 400, "InvalidRequest", {"x-amz-checksum-crc32": zeros(4)}, b"x"),
    Case("part, no checksum of a composite upload", "PUT", "/out/summed?partNumber=1&uploadId={summed}", 400, "InvalidRequest", {}, b"x"),
    Case("part, a key of the customer", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "InvalidRequest", {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, b"x"),
    Case("part copy, with a body", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "InvalidRequest", {"x-amz-copy-source": "/out/there"}, b"x"),
    Case("part, framed without an end", "PUT", "/out/big?partNumber=1&uploadId={upload}", 400, "IncompleteBody", {"x-amz-content-sha256": TRAILER_MODE, "x-amz-decoded-content-length": "1"}, b"1\r\nx\r\n"),
    *(
        Case(f"part copy, range {span!r}", "PUT", "/out/big?partNumber=1&uploadId={upload}", status, code, {"x-amz-copy-source": "/out/there", "x-amz-copy-source-range": span})
        for span, status, code in (
            ("bytes=0-", 400, "InvalidArgument"),
            ("bytes=-5", 400, "InvalidArgument"),
            ("0-5", 400, "InvalidArgument"),
            ("bytes=5-2", 400, "InvalidArgument"),
            ("bytes=0-1,3-4", 400, "InvalidArgument"),
            ("bytes=0-13", 400, "InvalidArgument"),
            ("bytes=99-100", 400, "InvalidRequest"),
        )
    ),
    Case("part copy, of nothing", "PUT", "/out/big?partNumber=1&uploadId={upload}", 404, "NoSuchKey", {"x-amz-copy-source": "/out/nothing"}),
    Case("part copy, of no bucket", "PUT", "/out/big?partNumber=1&uploadId={upload}", 404, "NoSuchBucket", {"x-amz-copy-source": "/nowhere/there"}),
    Case("part copy, to no upload", "PUT", "/out/big?partNumber=1&uploadId=none", 404, "NoSuchUpload", {"x-amz-copy-source": "/out/there"}),
    Case("part copy, source If-Match", "PUT", "/out/big?partNumber=1&uploadId={upload}", 412, "PreconditionFailed", {"x-amz-copy-source": "/out/there", "x-amz-copy-source-if-match": OTHER_ETAG}),
    complete("of no upload", 404, "NoSuchUpload", [(1, PART_ETAG)], target="/out/big?uploadId=none"),
    complete("of an empty id", 404, "NoSuchUpload", [(1, PART_ETAG)], target="/out/big?uploadId="),
    complete("of another key", 404, "NoSuchUpload", [(1, PART_ETAG)], target="/out/there?uploadId={upload}"),
    complete("in an input", 403, "AccessDenied", [(1, PART_ETAG)], target="/labresults/big?uploadId={upload}"),
    complete("no body", 400, "InvalidRequest", b""),
    complete("no XML", 400, "MalformedXML", b"1"),
    complete("no parts", 400, "MalformedXML", []),
    complete("another document", 400, "MalformedXML", b"<Complete/>"),
    complete("no ETag", 400, "MalformedXML", b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"),
    complete("no number", 400, "MalformedXML", b"<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>"),
    complete("a number that is none", 400, "MalformedXML", [("one", PART_ETAG)]),
    complete("number 0", 400, "InvalidArgument", [(0, PART_ETAG)]),
    complete("number 10,001", 400, "InvalidPart", [(10001, PART_ETAG)]),
    complete("10,001 parts", 400, "MalformedXML", [(n, PART_ETAG) for n in range(1, 10002)]),
    complete("wrong order", 400, "InvalidPartOrder", [(2, SMALL_ETAG), (1, PART_ETAG)]),
    complete("a part twice", 400, "InvalidPartOrder", [(1, PART_ETAG), (1, PART_ETAG)]),
    complete("a part that is not there", 400, "InvalidPart", [(1, PART_ETAG), (7, SMALL_ETAG)], PartNumber="7"),
    complete("another ETag", 400, "InvalidPart", [(1, OTHER_ETAG)], PartNumber="1", ETag=OTHER_ETAG),
    complete("no ETag in it", 400, "InvalidPart", [(1, "")]),
    complete("a small part", 400, "EntityTooSmall", [(2, SMALL_ETAG), (3, PART_ETAG)], PartNumber="2", ProposedSize="5", MinSizeAllowed=str(5 << 20)),
    complete("another size", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-mp-object-size": "5"}),
    complete("a size that is none", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-mp-object-size": "big"}),
    complete("another checksum", 400, "BadDigest", [(1, PART_ETAG)], {"x-amz-checksum-crc64nvme": zeros(8)}),
    complete("another checksum type", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-checksum-type": "COMPOSITE"}),
    complete("a wrong SHA-256 of the list", 400, "XAmzContentSHA256Mismatch", [(1, PART_ETAG)], {"x-amz-content-sha256": WRONG_SHA256}),
    complete("a checksum of a part that is wrong", 400, "InvalidPart", f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{PART_ETAG}</ETag><ChecksumCRC64NVME>{zeros(8)}</ChecksumCRC64NVME></Part></CompleteMultipartUpload>".encode()),
    complete("two checksums", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-checksum-crc64nvme": zeros(8), "x-amz-checksum-crc32": zeros(4)}),
    complete("a checksum that is none", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-checksum-crc32": "none"}),
    complete("a negative size", 400, "InvalidRequest", [(1, PART_ETAG)], {"x-amz-mp-object-size": "-1"}),
    complete("a checksum of a part that is no Base64", 400, "InvalidArgument", f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{PART_ETAG}</ETag><ChecksumCRC32>none</ChecksumCRC32></Part></CompleteMultipartUpload>".encode(), ArgumentName="Checksum", ArgumentValue="none"),
    complete("no checksums of parts", 400, "InvalidRequest", [(1, SMALL_ETAG)], target="/out/summed?uploadId={summed}"),
    complete("If-None-Match of what is there", 412, "PreconditionFailed", [(1, SMALL_ETAG)], {"if-none-match": "*"}, "/out/there?uploadId={over}"),
    complete("If-Match of another", 412, "PreconditionFailed", [(1, SMALL_ETAG)], {"if-match": OTHER_ETAG}, "/out/there?uploadId={over}"),
    complete("If-Match of nothing", 404, "NoSuchKey", [(1, PART_ETAG)], {"if-match": PART_ETAG}, Key="big"),
    Case("abort, no upload", "DELETE", "/out/big?uploadId=none", 404, "NoSuchUpload"),
    Case("abort, another key", "DELETE", "/out/there?uploadId={upload}", 404, "NoSuchUpload"),
    Case("abort, a condition of directory buckets", "DELETE", "/out/big?uploadId={upload}", 501, "NotImplemented", {"x-amz-if-match-initiated-time": "Wed, 21 Oct 2015 07:28:00 GMT"}, fields={"Header": "x-amz-if-match-initiated-time"}),
    Case("abort, without a key", "DELETE", "/out?uploadId={upload}", 400, "InvalidRequest"),
    Case("abort, in an input", "DELETE", "/labresults/big?uploadId={upload}", 403, "AccessDenied"),
    Case("parts, of no upload", "GET", "/out/big?uploadId=none", 404, "NoSuchUpload"),
    Case("parts, in an input", "GET", "/labresults/a.txt?uploadId={upload}", 404, "NoSuchUpload"),
    Case("uploads, an id of another key", "GET", "/out?uploads&key-marker=there&upload-id-marker={upload}", 400, "InvalidArgument", fields={"ArgumentName": "upload-id-marker"}),
    Case("parts, of another key", "GET", "/out/there?uploadId={upload}", 404, "NoSuchUpload"),
    *(
        Case(f"parts, {name}={value}", "GET", f"/out/big?uploadId={{upload}}&{name}={value}", 400, "InvalidArgument")
        for name in ("max-parts", "part-number-marker")
        for value in ("-1", "many", "99999999999", "1.5")
    ),
]  # fmt: skip
