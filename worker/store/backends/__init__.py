"""Where a store's objects lie: a local directory, or any object store."""
