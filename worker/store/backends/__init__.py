"""Backends of a store: a local directory, or an object store."""
