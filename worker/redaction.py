"""Redaction: replace secrets by ``***`` in streams and texts; the secrets of this process."""

import base64
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

import attrs

from worker.escapes import MERGED, Decoded, decode

HIDDEN = "***"
MARK = HIDDEN.encode()
SHORTEST_SECRET = 4
"""Bytes. A shorter value would also match words and numbers that are not secret."""
SHORTEST_LINE = 8
"""Bytes from which on a line of a multi-line secret is a secret of its own."""
SHORTEST_FRAGMENT = 8
"""Characters from which on a piece of a Base64 text identifies a secret."""
COMMON_WORDS = frozenset(
    b"true false null none undefined default enabled disabled password secret".split()
)
"""Values, in lower case, that are not redacted, since they would match most texts."""
LEVELS = 4
"""How often a text is decoded: three formats inside of each other, and a secret that itself has
what looks like an escape sequence."""
LONGEST_ESCAPE = 12
"""Bytes up to which escape sequences of all levels make one byte of a secret."""
BASE64_COLUMNS = 76, 64
"""Columns at which ``base64`` (RFC 2045) and ``openssl`` (RFC 7468) break the line."""
LONGEST_WRAPPED = 8 * 1024
"""Bytes of a secret up to which it is found in Base64 with line breaks."""
PREFIX = 4
"""Bytes of a form by which its start is searched for."""
MAX_NESTED = 8
"""How many texts that are searched for may end at the same place, the one with the others. The
lines of a hostile secret are any number, and a match of each would take time and memory."""
LETTERS = re.compile(rb"[A-Za-z0-9]+")
"""What no format escapes."""
ANCHOR = re.compile(rb"[A-Za-z0-9]{3,16}")
"""Letters of a form by which a text is searched before it is decoded."""


def is_redactable(secret: bytes) -> bool:
    """Whether *secret* is redacted: it is long enough and no common word."""
    secret = secret.strip()
    return len(secret) >= SHORTEST_SECRET and secret.lower() not in COMMON_WORDS


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield the forms in which programs print *secret*, but for escape sequences.

    These are the secret itself, its form in Base64 and in hexadecimal, and, since multi-line keys
    are often printed line by line, each long line.
    """
    yield from _base64_forms(secret)
    # Surrounding white space carries no information, and the line structure of the output stays.
    secret = secret.strip()
    yield secret
    yield from _base64_forms(secret)
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    if not secret.isascii():
        yield from _misread(secret)
    if b"\n" in secret:
        lines = (line.strip() for line in secret.split(b"\n"))
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


def _misread(secret: bytes) -> Iterator[bytes]:
    """Yield *secret* in the forms that programs give to bytes beyond ASCII."""
    text = secret.decode("utf-8", "surrogateescape")
    # Python's ascii() and some forms of URLs have one byte for each of Latin-1's characters.
    yield b"".join(
        bytes([ord(each)]) if ord(each) < 0x100 else each.encode("utf-8", "surrogatepass")
        for each in text
    )
    # Python has surrogates for bytes that are not UTF-8, or not ASCII in the C locale (PEP 383).
    yield text.encode("utf-8", "surrogatepass")
    yield secret.decode("ascii", "surrogateescape").encode("utf-8", "surrogatepass")
    # Perl takes each byte for a character of Latin-1.
    yield secret.decode("latin-1").encode()
    # Most languages replace bytes that are not UTF-8. What is left must identify the secret.
    if ANCHOR.search(secret):
        yield secret.decode("utf-8", "replace").encode()


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """Yield *secret* in Base64, alone and inside a longer text, in both alphabets.

    Inside a longer text, such as ``user:password``, Base64 depends on the position modulo 3. Only
    the characters that *secret* alone determines are yielded.
    """
    alone = base64.b64encode(secret)
    forms = list[bytes]()
    if len(secret) <= LONGEST_WRAPPED:
        for columns in BASE64_COLUMNS:
            pieces = [alone[i : i + columns] for i in range(0, len(alone), columns)]
            forms += map(_from_letter, pieces)
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        forms.append(_from_letter(encoded[-(-8 * shift // 6) : 8 * (shift + len(secret)) // 6]))
    for form in (alone, *(form for form in forms if len(form) >= SHORTEST_FRAGMENT)):
        yield form
        yield form.translate(bytes.maketrans(b"+/", b"-_"))


def _from_letter(fragment: bytes) -> bytes:
    """Return *fragment* from its first letter: a stream is not delayed for what precedes it."""
    return fragment.lstrip(b"+/")


# --- forms ----------------------------------------------------------------------------------------


class _Needles:
    """Texts that are searched for in one pass (Aho and Corasick 1975), however many they are."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self.texts = sorted(_not_nested(text for text in texts if text.strip()))
        self.longest = max(map(len, self.texts), default=0)
        self._short = {text[:length] for text in self.texts for length in range(1, PREFIX)}
        if self.texts:
            # Most commands know no secrets.
            from ahocorasick_rs import BytesAhoCorasick

            self._whole = BytesAhoCorasick(self.texts)
            self._prefixes = BytesAhoCorasick(list({text[:PREFIX] for text in self.texts}))

    def matches(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each of the texts in *data*, also where they overlap."""
        if self.texts:
            for _, start, end in self._whole.find_matches_as_indexes(data, overlapping=True):
                yield start, end

    def are_in(self, data: bytes) -> bool:
        """Whether any of the texts is in *data*."""
        return bool(self.texts and self._whole.find_matches_as_indexes(data))

    def tail(self, data: bytes) -> int:
        """Return the length of *data* before the longest tail that starts one of the texts."""
        if not self.texts:
            return len(data)
        first = max(0, len(data) - self.longest + 1)
        starts = self._prefixes.find_matches_as_indexes(data[first:], overlapping=True)
        for start in sorted(first + start for _, start, _ in starts):
            if self._is_start(data[start:]):
                return start
        for length in range(min(PREFIX - 1, len(data)), 0, -1):
            if data[-length:] in self._short:
                return len(data) - length
        return len(data)

    def _is_start(self, tail: bytes) -> bool:
        """Whether one of the texts starts with *tail* and is longer."""
        index = bisect_right(self.texts, tail)
        return index < len(self.texts) and self.texts[index].startswith(tail)


def _not_nested(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *texts* without those that end with as many others as `MAX_NESTED`."""
    ends: list[bytes] = []
    for text in sorted({text[::-1] for text in texts}):
        while ends and not text.startswith(ends[-1]):
            ends.pop()
        if len(ends) < MAX_NESTED:
            ends.append(text)
            yield text[::-1]


@attrs.frozen
class _Forms:
    """The forms of secrets, and what is needed to find them behind escape sequences.

    Formats escape different characters, alone or with those of others, and differ in the case of
    their digits. So a text is decoded, up to `LEVELS` times, and not each spelling searched for.
    """

    plain: _Needles
    """The forms, as they are."""
    decoded: _Needles
    """The forms that can be escaped, as they are in a decoded text."""
    anchors: _Needles | None
    """The first letters of each of these; a text without any of them has no secret to decode. None
    if there is one without enough letters."""
    reach: int
    """Bytes of any of these up to the end of the anchor."""
    has_lines: bool
    """Whether one of them has a line feed."""
    starts_escaped: bool
    """Whether one of them starts with what formats escape: otherwise what may be the start of an
    escape sequence, such as the end of ``20%``, is no start of a secret."""

    @classmethod
    def of(cls, secrets: Iterable[bytes]) -> "_Forms":
        """Return the forms of *secrets*."""
        plain = {form for secret in secrets for form in spellings(secret) if form.strip()}
        escapable = {form for form in plain if not LETTERS.fullmatch(form)}
        # Other formats do not escape what looks like an escape sequence to this one.
        canonical = set[bytes]()
        for form in escapable:
            # HTML, for one, does not escape a backslash at the end, so what follows goes with it.
            found_in_text = {form.translate(MERGED), form.translate(MERGED).rstrip(b"\\")}
            for _ in range(LEVELS):
                form = decode(form).data
                found_in_text |= {form, form.rstrip(b"\\")}
            canonical |= {each for each in found_in_text if is_redactable(each)}
        anchors = [ANCHOR.search(form) for form in canonical]
        found = [each for each in anchors if each is not None]
        has_anchors = len(found) == len(anchors)
        return cls(
            _Needles(plain),
            _Needles(canonical),
            _Needles(each[0] for each in found) if has_anchors else None,
            max((each.end() for each in found), default=0),
            any(b"\n" in form for form in plain),
            any(not LETTERS.match(form) for form in canonical),
        )

    def matches(self, data: bytes) -> list[tuple[int, int]]:
        """Return the start and end of each secret in *data*, in order."""
        found = list(self.plain.matches(data))
        if self.anchors is None or self.anchors.are_in(data):
            for level in _levels(data, whole=True):
                found += [
                    (level.start(start), level.end(end))
                    for start, end in self.decoded.matches(level.data)
                ]
        return sorted(found)

    def tail(self, data: bytes) -> int:
        """Return the length of *data* before the longest tail that may start a secret."""
        best = self.plain.tail(data)
        if self.decoded.texts:
            start = max(0, len(data) - LONGEST_ESCAPE * self.decoded.longest)
            if not self.has_lines:
                start = max(start, data.rfind(b"\n") + 1)
            if self.anchors is not None and not self.anchors.are_in(data[start:]):
                start = max(start, len(data) - LONGEST_ESCAPE * self.reach)
            for level in _levels(data[start:], whole=False):
                position = self.decoded.tail(level.data)
                if position < len(level.data):
                    best = min(best, start + level.start(position))
                elif self.starts_escaped:
                    best = min(best, start + level.rest)
        return best


@attrs.frozen
class _Level:
    """A text decoded several times, with its places in the text as it was."""

    _steps: tuple[Decoded, ...]
    rest: int
    """Where that text has what may be the start of an escape sequence; else its length."""

    @property
    def data(self) -> bytes:
        """The decoded text."""
        return self._steps[-1].data

    def start(self, position: int) -> int:
        """Return where the source of the byte at *position* starts."""
        for step in reversed(self._steps):
            position = step.start(position)
        return position

    def end(self, position: int) -> int:
        """Return where the source of the bytes before *position* ends."""
        for step in reversed(self._steps):
            position = step.end(position)
        return position


def _levels(data: bytes, *, whole: bool) -> Iterator[_Level]:
    """Yield *data* decoded once, twice and so on, while it has escape sequences."""
    steps: tuple[Decoded, ...] = ()
    rest = len(data)
    for _ in range(LEVELS):
        step = decode(data, whole=whole)
        if step.rest < len(data):
            before = _Level(steps, rest)
            rest = min(rest, before.start(step.rest))
        steps = (*steps, step)
        yield _Level(steps, rest)
        if not step.has_escapes and step.rest == len(data):
            return
        data = step.data


@lru_cache(maxsize=4)
def _forms_of(secrets: frozenset[bytes]) -> _Forms:
    """Return the forms of *secrets*, which several redactors of a process share."""
    return _Forms.of(secrets)


# --- the redactor ---------------------------------------------------------------------------------


class Redactor:
    """Replaces secrets in a stream of bytes by ``***``; overlapping secrets become one mark.

    The end of the data that may be the start of a secret is withheld until more data arrives: a few
    times the length of the longest secret at most, and nothing where no secret can start.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._forms = _forms_of(frozenset(secrets))
        self._withheld = b""
        self._masked = 0
        """Number of withheld bytes that belong to a secret whose mark has been returned."""

    def feed(self, data: bytes) -> bytes:
        """Return the redacted bytes that *data* completes."""
        if not self._forms.plain.texts:
            return data
        self._withheld += data
        return self._take(self._forms.tail(self._withheld))

    def finish(self) -> bytes:
        """Return the rest of the stream, redacted."""
        return self._take(len(self._withheld))

    def drop(self) -> int:
        """Drop the withheld bytes, because what follows them is missing; return their number."""
        count = len(self._withheld)
        self._withheld, self._masked = b"", 0
        return count

    def text(self, text: str, *, is_cut: bool = False) -> str:
        """Return *text* redacted, independent of the stream.

        If its end may be missing (*is_cut*), the start of a secret at its end is replaced too.
        """
        if not self._forms.plain.texts:
            return text
        errors = "surrogateescape"
        try:
            data = text.encode("utf-8", errors)
        except UnicodeEncodeError:
            # Lone surrogates of a JSON string, which no bytes stand behind.
            errors = "surrogatepass"
            data = text.encode("utf-8", errors)
        return self.whole(data, is_cut=is_cut).decode("utf-8", errors)

    def whole(self, data: bytes, *, is_cut: bool = False) -> bytes:
        """Return *data* redacted, independent of the stream; as `text`."""
        stream = self.new_stream()
        if not is_cut:
            stream._withheld = data
            return stream.finish()
        shown = stream.feed(data)
        is_start = len(stream._withheld) >= SHORTEST_SECRET
        return shown + (MARK if is_start and not stream._masked else stream.finish())

    def new_stream(self) -> "Redactor":
        """Return a redactor of the same secrets for another stream."""
        other = Redactor(())
        other._forms = self._forms
        return other

    def _take(self, stop: int) -> bytes:
        """Return the redacted form of the first *stop* withheld bytes, and drop them."""
        shown = bytearray()
        position = 0
        covered = self._masked
        for start, end in self._forms.matches(self._withheld):
            if start >= stop:
                break
            if start >= covered:
                shown += self._withheld[max(position, covered) : start] + MARK
                position = start
            covered = max(covered, end)
        shown += self._withheld[max(position, covered) : stop]
        self._withheld = self._withheld[stop:]
        self._masked = max(0, covered - stop)
        return bytes(shown)


# --- the secrets of this process ------------------------------------------------------------------


class _Secrets:
    """The secret values that this process has registered."""

    values: frozenset[bytes] = frozenset()
    redactor = Redactor(())


def hide(values: Iterable[bytes]) -> None:
    """Redact *values* from everything that this process logs, records or reports from now on.

    All forms that ``spellings`` yields are redacted, also with escape sequences. Values that are
    not ``is_redactable`` are ignored.
    """
    found = _Secrets.values | {value for value in values if is_redactable(value)}
    if found != _Secrets.values:
        _Secrets.values, _Secrets.redactor = found, Redactor(found)


def hidden() -> frozenset[bytes]:
    """Return the registered secrets, for another process of this run."""
    return _Secrets.values


def redact(text: str, *, is_cut: bool = False) -> str:
    """Return *text* without the registered secrets; as `Redactor.text`."""
    return _Secrets.redactor.text(text, is_cut=is_cut)


def redact_bytes(data: bytes) -> bytes:
    """Return *data* without the registered secrets."""
    return _Secrets.redactor.whole(data)
