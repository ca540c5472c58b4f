"""Text in header values: user metadata that is not ASCII, encoded by RFC 2047 as S3 does.

S3 decodes the encoded words of a value that it receives, and returns a value that is not printable
ASCII as encoded words: ``Zoë`` is ``=?UTF-8?Q?Zo=C3=AB?=`` (Amazon S3 User Guide, "Working with
object metadata"). So every header of a response is ASCII without control characters, whatever text
a client has stored.
"""

import base64
import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header

_PRINTABLE = re.compile(r"[\t\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Characters that stand for themselves in the Q encoding (RFC 2047, 4.2).
_LITERAL = frozenset(range(0x21, 0x7F)) - set(b"=?_")
MAX_WORD = 75
"""Characters of an encoded word (RFC 2047, 2)."""
CHARSETS = frozenset(
    (
        "ascii",
        "big5",
        "euc-jp",
        "euc-kr",
        "gb18030",
        "gb2312",
        "gbk",
        "iso-2022-jp",
        "koi8-r",
        "koi8-u",
        "shift_jis",
        "us-ascii",
        "utf-8",
        "utf8",
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
        *(f"windows-125{page}" for page in range(9)),
    )
)
"""The charsets of encoded words that are decoded.

Python has codecs besides, whose text can have surrogates, which cannot be stored; and it remembers
every name that it does not know.
"""


def has_control(value: str) -> bool:
    """Whether *value* has a control character other than a tab, which no header can carry."""
    return _CONTROL.search(value) is not None


def decode(value: str) -> str:
    """Return the text of a received header value, which is decoded as Latin-1.

    Bytes that are not ASCII are UTF-8, or Latin-1 if they are not valid UTF-8. A value with encoded
    words that cannot be decoded, or of other charsets than `CHARSETS`, is kept as it is.
    """
    if not value.isascii():
        raw = value.encode("latin-1")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return value
    if "=?" not in value:
        return value
    try:
        parts = decode_header(value)
        if not CHARSETS.issuperset(charset for _, charset in parts if charset is not None):
            return value
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii")
            for part, charset in parts
        )
    except (HeaderParseError, ValueError):
        return value


def encode(text: str) -> bytes:
    """Return a header value for *text*: itself, or encoded words with a space between them.

    The shorter encoding is used: Q for text that is mostly ASCII, otherwise B, as S3 does.
    """
    if _PRINTABLE.fullmatch(text):
        return text.encode()
    ascii_count = sum(len(found) for found in _PRINTABLE.findall(text))
    encoding = _q_words if 2 * ascii_count > len(text) else _b_words
    return b" ".join(encoding(text))


def _q_words(text: str) -> Iterator[bytes]:
    word = b""
    for character in text:
        piece = b"".join(
            b"%c" % byte if byte in _LITERAL else b"_" if byte == 0x20 else b"=%02X" % byte
            for byte in character.encode()
        )
        if len(word) + len(piece) > MAX_WORD - len("=?UTF-8?Q??="):
            yield b"=?UTF-8?Q?%s?=" % word
            word = b""
        word += piece
    yield b"=?UTF-8?Q?%s?=" % word


def _b_words(text: str) -> Iterator[bytes]:
    word = b""
    for character in text:
        piece = character.encode()
        # Base64 has four characters for three bytes.
        if (len(word) + len(piece) + 2) // 3 * 4 > MAX_WORD - len("=?UTF-8?B??="):
            yield b"=?UTF-8?B?%s?=" % base64.b64encode(word)
            word = b""
        word += piece
    yield b"=?UTF-8?B?%s?=" % base64.b64encode(word)
