"""Last-Modified: the whole second of a change."""


def last_modified(modified: int) -> int:
    """Return the second in which *modified* is; it is in milliseconds since 1970-01-01 UTC.

    S3 has whole seconds, in headers and listings alike. The time is rounded down and never changes:
    if it were rounded up, ``aws s3 sync`` and ``s5cmd sync`` would take a file that was changed
    after its upload, within the same second, for the older one and never upload it. So they may
    upload a file twice that was written in the second of its first upload, as with S3.
    """
    return modified // 1000
