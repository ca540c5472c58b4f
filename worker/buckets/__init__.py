"""S3 object semantics on top of the store, without HTTP."""
