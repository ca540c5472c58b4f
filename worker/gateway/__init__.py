"""S3 over HTTP."""
