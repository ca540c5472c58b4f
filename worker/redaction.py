"""Redaction of secrets: in a stream of bytes wherever it is cut, and in text."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from worker.text import HIDDEN

MARK = HIDDEN.encode()
SHORTEST = 4
"""Characters; the value of a variable that is shorter occurs in ordinary text."""
SHORTEST_LINE = 8
"""Bytes from which a single line of a secret of several lines is redacted on its own."""


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield the forms in which programs print *secret*: as it is, in JSON, URL and Base64 encoding.

    The lines of a secret of several lines, such as a private key, are yielded too: programs print
    them one by one, with a prefix.
    """
    yield base64.b64encode(secret)
    # Surrounding white space carries no information, and a log line must stay one line.
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
        lines = (line.strip() for line in secret.split(b"\n"))
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


class Redactor:
    """Replaces each secret in a stream by ``***``; overlapping secrets become one mark.

    Bytes that may be the start of a secret are held back: fewer than the longest secret has, and
    none while no start of a secret is in the data.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        found = {form for secret in secrets for form in spellings(secret) if form.strip()}
        self._secrets = sorted(found)
        # A lookahead finds overlapping matches; per position only the longest matters, so the
        # longest alternatives come first.
        alternatives = b"|".join(re.escape(form) for form in sorted(found, key=len, reverse=True))
        self._pattern = re.compile(b"(?=(" + alternatives + b"))", re.DOTALL) if found else None
        self._held = b""
        self._masked = 0
        """How many of the held bytes belong to a secret whose mark has been emitted."""

    def feed(self, data: bytes) -> bytes:
        """Return the redacted bytes that *data* completes."""
        if self._pattern is None:
            return data
        self._held += data
        return self._take(self._undecided())

    def finish(self) -> bytes:
        """Return the rest at the end of the stream."""
        return self._take(len(self._held))

    def text(self, text: str) -> str:
        """Return a complete *text* redacted; the state of the stream does not change."""
        if self._pattern is None:
            return text
        whole = self.new_stream()
        raw = text.encode("utf-8", "surrogateescape")
        return (whole.feed(raw) + whole.finish()).decode("utf-8", "surrogateescape")

    def new_stream(self) -> "Redactor":
        """Return a redactor of the same secrets for another stream."""
        other = Redactor(())
        other._secrets, other._pattern = self._secrets, self._pattern
        return other

    def _undecided(self) -> int:
        """Return the position of the longest tail that may become a secret."""
        held, best = self._held, len(self._held)
        for form in self._secrets:
            start = held.find(form[:1], max(0, len(held) - len(form) + 1), best)
            while start >= 0 and not form.startswith(held[start:]):
                start = held.find(form[:1], start + 1, best)
            if start >= 0:
                best = start
        return best

    def _take(self, stop: int) -> bytes:
        shown = bytearray()
        position = 0
        covered = self._masked
        if self._pattern is not None and any(form in self._held for form in self._secrets):
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
