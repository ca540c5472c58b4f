"""Redaction: replace secrets by ``***`` in streams and texts; the secrets of this process."""

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "***"
MARK = HIDDEN.encode()
SHORTEST_SECRET = 4
"""Bytes. A shorter value would also match words and numbers that are not secret."""
SHORTEST_LINE = 8
"""Bytes from which on a line of a multi-line secret is a secret of its own."""
SHORTEST_FRAGMENT = 8
"""Characters from which on a piece of a Base64 text identifies a secret."""


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield the forms in which programs print *secret*.

    These are the secret itself, its form inside a JSON string, a Python literal, a URL and a
    Base64 text, and, since multi-line keys are often printed line by line, each long line.
    """
    yield from _base64_forms(secret)
    # Surrounding white space carries no information, and the line structure of the output stays.
    secret = secret.strip()
    yield secret
    yield from _base64_forms(secret)
    yield quote(secret, safe="").encode()
    yield quote(secret, safe="/").encode()
    yield quote_plus(secret).encode()
    yield repr(secret)[2:-1].encode()
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    yield repr(text)[1:-1].encode()
    yield ascii(text)[1:-1].encode()
    if "\n" in text:
        lines = (line.strip() for line in secret.split(b"\n"))
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """Yield *secret* in Base64, alone and inside a longer text, in both alphabets.

    Inside a longer text, such as ``user:password``, Base64 depends on the position modulo 3. Only
    the characters that *secret* alone determines are yielded.
    """
    forms = [base64.b64encode(secret)]
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        fragment = encoded[-(-8 * shift // 6) : 8 * (shift + len(secret)) // 6]
        if len(fragment) >= SHORTEST_FRAGMENT:
            forms.append(fragment)
    for form in forms:
        yield form
        yield form.translate(bytes.maketrans(b"+/", b"-_"))


PREFIX = 4
"""Bytes of a secret by which its start is searched for."""


class Redactor:
    """Replaces secrets in a stream of bytes by ``***``; overlapping secrets become one mark.

    The end of the data that may be the start of a secret is withheld until more data arrives: at
    most the length of the longest secret, and nothing where no secret can start.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._forms = sorted(
            {form for secret in secrets for form in spellings(secret) if form.strip()}
        )
        self._withheld = b""
        self._masked = 0
        """Number of withheld bytes that belong to a secret whose mark has been returned."""

    def feed(self, data: bytes) -> bytes:
        """Return the redacted bytes that *data* completes."""
        if not self._forms:
            return data
        self._withheld += data
        return self._take(self._safe_length())

    def finish(self) -> bytes:
        """Return the rest of the stream, redacted."""
        return self._take(len(self._withheld))

    def drop(self) -> int:
        """Drop the withheld bytes, because what follows them is missing; return their number."""
        count = len(self._withheld)
        self._withheld, self._masked = b"", 0
        return count

    def text(self, text: str) -> str:
        """Return *text* redacted, independent of the stream."""
        if not self._forms:
            return text
        errors = "surrogateescape"
        try:
            data = text.encode("utf-8", errors)
        except UnicodeEncodeError:
            # Lone surrogates of a JSON string, which no bytes stand behind.
            errors = "surrogatepass"
            data = text.encode("utf-8", errors)
        whole = self.new_stream()
        whole._withheld = data
        return whole.finish().decode("utf-8", errors)

    def new_stream(self) -> "Redactor":
        """Return a redactor of the same secrets for another stream."""
        other = Redactor(())
        other._forms = self._forms
        return other

    def _safe_length(self) -> int:
        """Return the length of the withheld data before the longest tail that starts a secret."""
        data, best = self._withheld, len(self._withheld)
        for form in self._forms:
            # A search for several bytes has few false matches. The last tails are shorter than it.
            searched = form[:PREFIX]
            start = data.find(searched, max(0, len(data) - len(form) + 1), best + PREFIX)
            while 0 <= start < best and not form.startswith(data[start:]):
                start = data.find(searched, start + 1, best + PREFIX)
            if 0 <= start < best:
                best = start
            for start in range(max(0, len(data) - min(PREFIX, len(form)) + 1), best):
                if form.startswith(data[start:]):
                    best = start
                    break
        return best

    def _take(self, stop: int) -> bytes:
        """Return the redacted form of the first *stop* withheld bytes, and drop them."""
        shown = bytearray()
        position = 0
        covered = self._masked
        for start, end in self._matches(stop):
            if start >= covered:
                shown += self._withheld[max(position, covered) : start] + MARK
                position = start
            covered = max(covered, end)
        shown += self._withheld[max(position, covered) : stop]
        self._withheld = self._withheld[stop:]
        self._masked = max(0, covered - stop)
        return bytes(shown)

    def _matches(self, stop: int) -> list[tuple[int, int]]:
        """Return the start and end of each secret in the withheld data that starts before *stop*.

        A search for each form: a regular expression of thousands of forms, those of the lines of a
        certificate bundle, takes seconds to compile and tries all of them at each position.
        """
        found = []
        for form in self._forms:
            start = self._withheld.find(form)
            while 0 <= start < stop:
                found.append((start, start + len(form)))
                start = self._withheld.find(form, start + 1)
        return sorted(found)


# --- the secrets of this process ------------------------------------------------------------------


class _Secrets:
    """The secret values that this process has registered."""

    values: frozenset[bytes] = frozenset()
    redactor = Redactor(())


def hide(values: Iterable[bytes]) -> None:
    """Redact *values* from everything that this process logs or reports from now on.

    All forms that ``spellings`` yields are redacted. Values of less than ``SHORTEST_SECRET`` bytes
    are ignored.
    """
    found = _Secrets.values | {value for value in values if len(value.strip()) >= SHORTEST_SECRET}
    if found != _Secrets.values:
        _Secrets.values, _Secrets.redactor = found, Redactor(found)


def redact(text: str) -> str:
    """Return *text* without the registered secrets."""
    return _Secrets.redactor.text(text)


def redact_bytes(data: bytes) -> bytes:
    """Return *data* without the registered secrets."""
    stream = _Secrets.redactor.new_stream()
    return stream.feed(data) + stream.finish()
