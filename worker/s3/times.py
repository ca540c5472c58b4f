"""Last-Modified: the whole second that stands for the time of a change, in milliseconds."""

import time


def last_modified(modified: int, *, now: float | None = None) -> int:
    """Return the second of *modified*, which is in milliseconds since 1970-01-01 UTC.

    S3 has whole seconds, in headers and listings alike. The time is rounded up, so that an object
    is not older than the file from which it was uploaded: ``aws s3 sync`` would upload the file
    again. It is rounded down until that second has come: s5cmd does not list an object whose time
    is in the future. *now* is the current time in seconds, of the system if it is not given.
    """
    up = -(-modified // 1000)
    return up if up <= (time.time() if now is None else now) else modified // 1000
