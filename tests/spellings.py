"""The spellings in which common programs print a secret, made by real encoders."""

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from html.entities import codepoint2name
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import quoteattr

SECRET = "p@ss w/ö&<'\"\\$+%7E€\U0001f511=end"
"""A secret with a character of each kind that some format escapes."""


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_of_go(text: str) -> str:
    """encoding/json of Go, and Gson: safe inside HTML."""
    found = json.dumps(text, ensure_ascii=False)[1:-1]
    for each in "<>&'=":
        found = found.replace(each, f"\\u{ord(each):04x}")
    return found


def _json_of_php(text: str) -> str:
    """json_encode of PHP: escaped slashes."""
    return json.dumps(text)[1:-1].replace("/", "\\/")


def _upper_json(text: str) -> str:
    """ASCII-only JSON with capital digits, as of .NET and Jackson."""
    return "".join(
        "".join(f"\\u{unit:04X}" for unit in _utf16(each))
        if not each.isalnum() or not each.isascii()
        else each
        for each in text
    )


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _references(text: str, form: str) -> str:
    return "".join(
        each if each.isascii() and each.isalnum() else form.format(ord(each)) for each in text
    )


def _backslashed(text: str) -> str:
    """``printf %q`` of bash for a text without control characters."""
    return "".join(each if each.isalnum() else f"\\{each}" for each in text)


def _ansi_c(text: str) -> str:
    """``$'…'`` of bash in the C locale: octal bytes."""
    return "".join(
        chr(each) if chr(each).isalnum() and each < 128 else f"\\{each:03o}"
        for each in text.encode()
    )


def _quoted_name(text: str) -> str:
    """A name in an error of GNU programs, in the C locale."""
    found = ""
    for part in re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", text):
        if part[0].isascii() and part[0].isprintable():
            found += part.replace("'", "'\\''")
        else:
            named = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r"}
            escaped = (f"\\{named.get(byte, f'{byte:03o}')}" for byte in part.encode())
            found += f"'$'{''.join(escaped)}''"
    return found


def _dumper_of_perl(text: str) -> str:
    """Data::Dumper of Perl with Useqq."""
    return "".join(
        f"\\{each}" if each in '\\"$@' else each if each.isascii() else f"\\x{{{ord(each):x}}}"
        for each in text
    )


def _entities(text: str) -> str:
    """htmlentities() of PHP, and escapeHtml4() of Java."""
    return "".join(
        f"&{codepoint2name[ord(each)]};" if ord(each) in codepoint2name else each for each in text
    )


SPELLINGS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "json": _json,
    "json in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json of Go": _json_of_go,
    "json of PHP": _json_of_php,
    "json with capital digits": _upper_json,
    "json in json": lambda text: _json(_json(text)),
    "json in json in json": lambda text: _json(_json(_json(text))),
    "json of bytes as Latin-1": lambda text: _json(text.encode().decode("latin-1")),
    "json in the C locale": lambda text: _json(text.encode().decode("ascii", "surrogateescape")),
    "repr": lambda text: repr(text)[1:-1],
    "ascii": lambda text: ascii(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    # It quotes nothing but where it has to.
    "shlex": lambda text: shlex.quote(f"{text} ")[1:-2],
    "xtrace": lambda text: text.replace("'", "'\\''"),
    "printf %q": _backslashed,
    "ansi c": _ansi_c,
    "name of a file": _quoted_name,
    "dumper of Perl": _dumper_of_perl,
    "url": quote,
    "url without slashes": lambda text: quote(text, safe=""),
    "url in lower case": lambda text: _lower_hex(quote(text, safe="")),
    "form": quote_plus,
    "form with slashes": lambda text: quote_plus(text, safe="/"),
    "form in lower case": lambda text: _lower_hex(quote_plus(text)),
    "url in url": lambda text: quote(quote(text, safe=""), safe=""),
    "url in json": lambda text: _json_of_php(quote(text, safe="/&")),
    "html": html.escape,
    "html with names": _entities,
    "xml attribute": lambda text: quoteattr(text)[1:-1],
    "decimal references": lambda text: _references(text, "&#{};"),
    "hexadecimal references": lambda text: _references(text, "&#x{:x};"),
    "html in a url": lambda text: quote(html.escape(text), safe="&"),
    "html in json": lambda text: _json(html.escape(text)),
    "sql": lambda text: text.replace("'", "''"),
    "csv": lambda text: text.replace('"', '""'),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "url-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in a url": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "hexadecimal": lambda text: text.encode().hex(),
    "capital hexadecimal": lambda text: text.encode().hex().upper(),
}
"""Each spelling without the quotes around it, by name."""


def _lower_hex(text: str) -> str:
    pieces = text.split("%")
    return pieces[0] + "".join(f"%{each[:2].lower()}{each[2:]}" for each in pieces[1:])
