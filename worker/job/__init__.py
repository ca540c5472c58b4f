"""One run, from document to commit. Nothing here blocks: the store is sent to threads."""
