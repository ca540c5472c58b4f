"""S3 error codes with their statuses and messages, and the exception that carries one."""

from collections.abc import Mapping
from types import MappingProxyType

# The messages are those of AWS, since users search the web for them. An error that has a remedy is
# raised with a message that names it.
CATALOGUE: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
        "AccessDenied": (403, "Access Denied"),
        "AccessForbidden": (403, "CORSResponse: CORS is not enabled for this bucket."),
        "AuthorizationHeaderMalformed": (
            400,
            "The authorization header that you provided is not valid.",
        ),
        "AuthorizationQueryParametersError": (
            400,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ),
        "BadDigest": (
            400,
            "The Content-MD5 or checksum value that you specified did not match what the server "
            "received.",
        ),
        "BadRequest": (400, "An error occurred when parsing the HTTP request."),
        "BucketAlreadyOwnedByYou": (
            409,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ),
        "ConditionalRequestConflict": (
            409,
            "The conditional request cannot succeed due to a conflicting operation against this "
            "resource.",
        ),
        "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size"),
        "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
        "IncompleteBody": (
            400,
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        ),
        "InternalError": (500, "We encountered an internal error. Please try again."),
        "InvalidAccessKeyId": (
            403,
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        "InvalidArgument": (400, "Invalid Argument"),
        "InvalidBucketOwnerAWSAccountID": (
            400,
            "The value of the expected bucket owner parameter must be an AWS Account ID...",
        ),
        "InvalidBucketName": (400, "The specified bucket is not valid."),
        "InvalidChunkSizeError": (
            403,
            "Only the last chunk is allowed to have a size less than 8192 bytes",
        ),
        "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
        "InvalidObjectState": (
            403,
            "Restore is not allowed for the object's current storage class",
        ),
        "InvalidPart": (
            400,
            "One or more of the specified parts could not be found.  The part may not have been "
            "uploaded, or the specified entity tag may not match the part's entity tag.",
        ),
        "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
        "InvalidPartOrder": (
            400,
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ),
        "InvalidPolicyDocument": (
            400,
            "The content of the form does not meet the conditions specified in the policy "
            "document.",
        ),
        "InvalidRedirectLocation": (
            400,
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ),
        "InvalidRange": (416, "The requested range is not satisfiable"),
        "InvalidRequest": (400, "Invalid Request"),
        "InvalidStorageClass": (400, "The storage class you specified is not valid"),
        "InvalidTag": (400, "The tag provided was not a valid tag."),
        "InvalidURI": (400, "Couldn't parse the specified URI."),
        "KeyTooLongError": (400, "Your key is too long"),
        "MalformedACLError": (
            400,
            "The XML you provided was not well-formed or did not validate against our published "
            "schema",
        ),
        "MalformedContinuationToken": (400, "The continuation-token you provided invalid."),
        "MalformedPOSTRequest": (
            400,
            "The body of your POST request is not well-formed multipart/form-data.",
        ),
        "MalformedTrailerError": (
            400,
            "The request contained trailing data that was not well-formed or did not conform to "
            "our published schema.",
        ),
        "MalformedXML": (
            400,
            "The XML you provided was not well-formed or did not validate against our published "
            "schema",
        ),
        "MaxMessageLengthExceeded": (400, "Your request was too big."),
        "MetadataConfigurationNotFound": (404, "The metadata configuration was not found"),
        "MaxPostPreDataLengthExceeded": (
            400,
            "Your POST request fields preceeding the upload file was too large.",  # sic
        ),
        "MetadataTooLarge": (
            400,
            "Your metadata headers exceed the maximum allowed metadata size",
        ),
        "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
        "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
        "MissingRequestBodyError": (400, "Request Body is empty"),
        "MissingSecurityHeader": (400, "Your request was missing a required header"),
        "NoLoggingStatusForKey": (
            400,
            "There is no such thing as the ?logging sub-resource for a key",
        ),
        "NoSuchBucket": (404, "The specified bucket does not exist"),
        "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
        "NoSuchConfiguration": (404, "The specified configuration does not exist."),
        "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
        "NoSuchKey": (404, "The specified key does not exist."),
        "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
        "NoSuchObjectLockConfiguration": (
            404,
            "The specified object does not have a ObjectLock configuration",
        ),
        "NoSuchTagSet": (404, "The TagSet does not exist"),
        "NoSuchUpload": (
            404,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may "
            "have been aborted or completed.",
        ),
        "NoSuchVersion": (404, "The specified version does not exist."),
        "NoSuchWebsiteConfiguration": (
            404,
            "The specified bucket does not have a website configuration",
        ),
        "NotImplemented": (
            501,
            "A header you provided implies functionality that is not implemented",
        ),
        "ObjectLockConfigurationNotFoundError": (
            404,
            "Object Lock configuration does not exist for this bucket",
        ),
        "OperationAborted": (
            409,
            "A conflicting conditional operation is currently in progress against this resource. "
            "Please try again.",
        ),
        "PreconditionFailed": (
            412,
            "At least one of the pre-conditions you specified did not hold",
        ),
        "ReplicationConfigurationNotFoundError": (
            404,
            "The replication configuration was not found",
        ),
        "RequestHeaderSectionTooLarge": (
            400,
            "Your request header section exceeds the maximum allowed size.",
        ),
        "RequestTimeout": (
            400,
            "Your socket connection to the server was not read from or written to within the "
            "timeout period. Idle connections will be closed.",
        ),
        "RequestTimeTooSkewed": (
            403,
            "The difference between the request time and the current time is too large.",
        ),
        "ServerSideEncryptionConfigurationNotFoundError": (
            404,
            "The server side encryption configuration was not found",
        ),
        "ServiceUnavailable": (503, "Service is unable to handle request."),
        "SignatureDoesNotMatch": (
            403,
            "The request signature we calculated does not match the signature you provided. Check "
            "your key and signing method.",
        ),
        "UnexpectedContent": (400, "This request does not support content"),
        "UserKeyMustBeSpecified": (400, "User key must be specified."),
        "XAmzContentSHA256Mismatch": (
            400,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ),
    }
)
"""Status and message by error code."""


MAX_TEXT = 16 << 10
"""Characters of a message or field, most of which contain what a client has sent; a canonical
request of 5 KB fits in hex."""


class S3Error(Exception):
    """An error response of S3: a code of the catalogue with its status, message and fields.

    *fields* and further keyword arguments become elements of the error document, in this order
    (``Key``, ``ArgumentName``, …). *headers* are added to the response. *message* and *status*
    default to those of the catalogue. Texts are cut at `MAX_TEXT`. S3Error is not a WorkerError,
    whose classes have a meaning outside the protocol.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        usual_status, usual_message = CATALOGUE[code]
        self.code = code
        self.message = usual_message if message is None else _bounded(message)
        self.status = usual_status if status is None else status
        self.headers: Mapping[str, str] = headers or {}
        self.fields: Mapping[str, str] = {
            **{name: _bounded(value) for name, value in (fields or {}).items()},
            **{name: _bounded(str(value)) for name, value in more.items()},
        }
        super().__init__(f"{code}: {self.message}")


def _bounded(text: str) -> str:
    more = len(text) - MAX_TEXT
    return text if more <= 0 else f"{text[:MAX_TEXT]}… and {more:,} characters more"


def invalid_argument(name: str, value: str | None, message: str) -> S3Error:
    """Return InvalidArgument with the name of the argument and its value, as AWS does.

    AWS has no value for some arguments; *value* is then None.
    """
    if value is None:
        return S3Error("InvalidArgument", message, ArgumentName=name)
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
