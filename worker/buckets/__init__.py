"""The door between the store and the world: what S3 means, without HTTP. Nothing here blocks."""
