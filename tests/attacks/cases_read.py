"""Invalid reads of objects, attributes and listings."""

# ruff: noqa: E501 - a case is a row

from attacks.cases import ETAG, LONG_AGO, OTHER_ETAG, Case, get

READS = [
    get("nothing", 404, "NoSuchKey", target="/out/nothing", Key="nothing"),
    get("nothing in an input", 404, "NoSuchKey", target="/labresults/nothing", Key="nothing"),
    get("a folder of an input", 404, "NoSuchKey", target="/labresults/nested/"),
    get("no bucket", 404, "NoSuchBucket", target="/nowhere/there", BucketName="nowhere"),
    get("bytes behind the end", 416, "InvalidRange", {"range": "bytes=13-"}, ActualObjectSize="13"),
    get("the last no bytes", 416, "InvalidRange", {"range": "bytes=-0"}, RangeRequested="bytes=-0"),
    get("bytes of an empty object", 416, "InvalidRange", {"range": "bytes=0-"}, "/out/empty"),
    get("If-Match of another", 412, "PreconditionFailed", {"if-match": OTHER_ETAG}),
    get(
        "If-Unmodified-Since long ago",
        412,
        "PreconditionFailed",
        {"if-unmodified-since": LONG_AGO},
        Condition="If-Unmodified-Since",
    ),
    get("If-None-Match", 304, "", {"if-none-match": f'"{ETAG}"'}),
    get("If-None-Match, weak, of several", 304, "", {"if-none-match": f'"a", W/"{ETAG}"'}),
    get("part 0", 400, "InvalidArgument", target="/out/there?partNumber=0"),
    get("part ''", 400, "InvalidArgument", target="/out/there?partNumber="),
    get("part one", 400, "InvalidArgument", target="/out/there?partNumber=one"),
    get("part 10,001", 400, "InvalidArgument", target="/out/there?partNumber=10001"),
    get("part 2 of a plain object", 416, "InvalidPartNumber", target="/out/there?partNumber=2"),
    get("part 3 of two", 416, "InvalidPartNumber", target="/out/parts?partNumber=3", ActualPartCount="2", PartNumberRequested="3"),
    get(
        "a range of a part",
        400,
        "InvalidRequest",
        {"range": "bytes=0-1"},
        "/out/parts?partNumber=1",
    ),
    get("part one of nothing", 400, "InvalidArgument", target="/out/nothing?partNumber=one"),
    get("a range of a part of nothing", 400, "InvalidRequest", {"range": "bytes=0-1"}, "/out/nothing?partNumber=1"),
    get("a version of nothing", 404, "NoSuchVersion", target="/out/nothing?versionId=null", Key="nothing", VersionId="null"),
    get("a version", 400, "InvalidArgument", target="/out/there?versionId=abc"),
    get("a version without a name", 400, "InvalidArgument", target="/out/there?versionId="),
    *(
        get(
            f"{name} with a line break",
            400,
            "InvalidArgument",
            target=f"/out/there?response-{name}=a%0D%0Ax-evil:1",
        )
        for name in (
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-type",
            "expires",
        )
    ),
    get("the legal hold", 400, "InvalidRequest", target="/out/there?legal-hold"),
    get("the torrent", 405, "MethodNotAllowed", target="/out/there?torrent"),
    get("tags of nothing", 404, "NoSuchKey", target="/out/nothing?tagging"),
    get("attributes of nothing", 404, "NoSuchKey", {"x-amz-object-attributes": "ETag"}, "/out/nothing?attributes"),
    get("no attributes of nothing", 400, "InvalidRequest", target="/out/nothing?attributes"),
    get("an unknown attribute of nothing", 400, "InvalidArgument", {"x-amz-object-attributes": "Colour"}, "/out/nothing?attributes"),
    get("no attributes", 400, "InvalidRequest", target="/out/there?attributes"),
    get("an unknown attribute", 400, "InvalidArgument", {"x-amz-object-attributes": "ETag,Colour"}, "/out/there?attributes"),
    get("attributes of many parts", 400, "InvalidArgument", {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": "many"}, "/out/there?attributes"),
    *(
        Case(f"head, {name}", "HEAD", target, status, "", headers)
        for name, target, status, headers in (
            ("nothing", "/out/nothing", 404, {}),
            ("no bucket", "/nowhere/there", 404, {}),
            ("If-Match", "/out/there", 412, {"if-match": OTHER_ETAG}),
            ("If-None-Match", "/out/there", 304, {"if-none-match": ETAG}),
            ("a range behind the end", "/out/there", 416, {"range": "bytes=13-"}),
            ("part 3 of two", "/out/parts?partNumber=3", 416, {}),
            ("a key that is no UTF-8", "/out/%FF", 400, {}),
        )
    ),
]  # fmt: skip

LISTINGS = [
    *(
        Case(
            f"list {kind or 'V1'}, {name}={value}", "GET", f"/out?{kind}&{name}={value}", 400, "InvalidArgument",
            # S3 does not return a negative number of versions.
            fields={"ArgumentValue": "" if (kind, value) == ("versions", "-1") else value},
        )
        for kind, name in (
            ("", "max-keys"),
            ("list-type=2", "max-keys"),
            ("versions", "max-keys"),
            ("uploads", "max-uploads"),
        )
        for value in ("-1", "many", "99999999999", "2147483648", "1e3", "0x10")
    ),
    *(
        Case(f"list {kind or 'V1'}, encoding", "GET", f"/out?{kind}&encoding-type=xml", 400, "InvalidArgument")
        for kind in ("", "list-type=2", "versions", "uploads")
    ),
    *(
        Case(f"list, token {token!r}", "GET", f"/out?list-type=2&continuation-token={token}", 400, "InvalidArgument")
        for token in ("nonsense", "1%FF", "2YQ", "1a", "1!!!!", "1_w", "%C3%BC")
        if token != "1%FF"
    ),
    Case("list, a token that is no UTF-8", "GET", "/out?list-type=2&continuation-token=1%FF", 400, "InvalidURI"),
    Case("list, a prefix that is no UTF-8", "GET", "/out?prefix=%FF", 400, "InvalidURI"),
    Case("list, a version without a key", "GET", "/out?versions&version-id-marker=3", 400, "InvalidArgument"),
    Case("list, no bucket", "GET", "/nowhere?list-type=2", 404, "NoSuchBucket"),
    Case("list, uploads of no bucket", "GET", "/nowhere?uploads", 404, "NoSuchBucket"),
    Case("list, 257 parameters", "GET", "/out?" + "&".join(["a"] * 257), 400, "InvalidURI"),
    Case("head, no such bucket", "HEAD", "/nowhere", 404, ""),
]  # fmt: skip
