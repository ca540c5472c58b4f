"""The S3 protocol without I/O: functions of bytes and values, none of which waits."""
