"""References to container images in a job document: ``registry.example/team/image:tag@digest``."""

TRANSPORTS = (
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
)
"""The transports of containers/image (containers-transports(5), and those of older versions).

podman reads ``dir:x`` and ``docker-archive:x`` as files of the machine, although both are also
references in the grammar, to the tag ``x`` of an image in the default registry.
"""

_COMPONENT = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])"
_PATH = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128}"

IMAGE = (
    f"(?!(?:{'|'.join(TRANSPORTS)}):)(?!.{{521}})"
    f"(?:{_HOST}(?::[0-9]{{1,5}})?/)?{_PATH}(?:/{_PATH})*(?::{_TAG})?(?:@{_DIGEST})?"
)
"""The grammar of ``distribution/reference`` (reference.go), without transports.

A name has up to 255 characters, a tag 128 and a digest 136. A separator is not empty here, which
makes no difference to what matches, but to the time it takes.
"""
IMAGE_EXPECTED = (
    "an image reference such as debian:12 or registry.example:5000/team/image@sha256:…, in lower "
    "case and without a transport such as docker:// or dir:"
)
