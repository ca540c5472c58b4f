"""Secrets are taken out of a stream of bytes, wherever its pieces and its lines are cut."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MARK = b"***"
LINE = 8
"""From how many bytes on a line of a secret of many lines is a secret of its own."""


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield the ways in which programs print *secret*: itself, and as JSON, URL and Base64 have it.

    A key of many lines is often printed line by line, with something before each.
    """
    yield base64.b64encode(secret)
    # The white space around it tells nothing, and lines shall stay lines.
    secret = secret.strip()
    yield secret
    yield base64.b64encode(secret)
    yield quote(secret, safe="").encode()
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    if "\n" in text:
        yield from (line for part in secret.split(b"\n") if len(line := part.strip()) >= LINE)


class Redactor:
    """Replaces each secret in a stream by ``***``; secrets that overlap become one mark.

    What might be the beginning of a secret is held back until more is known: less than the longest
    secret has bytes, and nothing at all while no secret is in sight.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        found = {way for secret in secrets for way in spellings(secret) if way.strip()}
        self._secrets = sorted(found)
        # A lookahead finds what overlaps; per start only the longest matters, so that goes first.
        ways = sorted(found, key=len, reverse=True)
        pattern = b"|".join(re.escape(way) for way in ways)
        self._pattern = re.compile(b"(?=(" + pattern + b"))", re.DOTALL) if found else None
        self._held = b""
        self._masked = 0
        """How many of the bytes held back belong to a secret whose mark is out already."""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown now."""
        if self._pattern is None:
            return data
        self._held += data
        return self._take(self._safe())

    def finish(self) -> bytes:
        """Return the rest; the stream is over."""
        return self._take(len(self._held))

    def text(self, text: str) -> str:
        """Return a whole *text* without its secrets, and leave the stream alone."""
        whole = self.again()
        raw = text.encode("utf-8", "surrogateescape")
        return (whole.feed(raw) + whole.finish()).decode("utf-8", "surrogateescape")

    def again(self) -> "Redactor":
        """Return a redactor of the same secrets for another stream."""
        other = Redactor(())
        other._secrets, other._pattern = self._secrets, self._pattern
        return other

    def _safe(self) -> int:
        """Return where the longest tail begins that may become a secret."""
        held, best = self._held, len(self._held)
        for way in self._secrets:
            start = held.find(way[:1], max(0, len(held) - len(way) + 1), best)
            while start >= 0 and not way.startswith(held[start:]):
                start = held.find(way[:1], start + 1, best)
            if start >= 0:
                best = start
        return best

    def _take(self, stop: int) -> bytes:
        shown = bytearray()
        position = 0
        covered = self._masked
        if self._pattern is not None and any(way in self._held for way in self._secrets):
            for match in self._pattern.finditer(self._held):
                start, end = match.start(1), match.end(1)
                if start >= stop:
                    break
                if start >= covered:
                    shown += self._held[max(position, covered) : start] + MARK
                    position = start
                covered = max(covered, end)
        shown += self._held[max(position, covered) : stop]
        self._held = self._held[stop:]
        self._masked = max(0, covered - stop)
        return bytes(shown)
