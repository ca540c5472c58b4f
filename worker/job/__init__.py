"""One run, from document to commit."""
