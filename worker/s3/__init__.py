"""The S3 protocol as bytes and values. Nothing here awaits, and nothing does I/O."""
