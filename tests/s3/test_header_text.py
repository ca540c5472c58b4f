"""Text in header values, as answers recorded from AWS have it."""

import codecs
from email.header import decode_header, make_header

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.s3.header_text import CHARSETS, decode, encode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, \t~", "plain, \t~"),
        ("", ""),
        ("Zoë", "=?UTF-8?Q?Zo=C3=AB?="),
        ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        (
            "test_—_file%E2%80%94_é_2?.pdf",
            "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?=",
        ),
        ("\x00\x01\x02\x03", "=?UTF-8?B?AAECAw==?="),
        ("�" * 7, "=?UTF-8?B?77+977+977+977+977+977+977+9?="),
        ("a\r\nset-cookie: b", "=?UTF-8?Q?a=0D=0Aset-cookie:_b?="),
    ],
)
def test_text_is_encoded_as_by_s3(text, expected):
    """Printable ASCII as it is, mostly ASCII as Q, other text as B."""
    assert expected == encode(text).decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=?UTF-8?B?YWJj?=", "abc"),
        ("=?UTF-8?Q?actually-ascii?=", "actually-ascii"),
        ("=?utf-8?q?Zo=C3=AB?=", "Zoë"),
        ("=?ISO-8859-1?Q?Zo=EB?=", "Zoë"),
        ("Zoë".encode().decode("latin-1"), "Zoë"),
        ("Zo\xeb", "Zoë"),
        ("=?UTF-8?Q?Zo=C3?= =?UTF-8?Q?=AB?=", "Zoë"),
        ("=?none?Q?a?=", "=?none?Q?a?="),
        ("=?UTF-8?B?=GGG?=", "=?UTF-8?B?=GGG?="),
        ("a=?b", "a=?b"),
    ],
)
def test_received_values_are_decoded(value, expected):
    """Encoded words, and raw UTF-8 or Latin-1; what cannot be decoded is kept."""
    assert expected == decode(value)


@pytest.mark.parametrize(
    "word",
    [
        "=?none?Q?a?=",
        "=?utf-8*en?Q?a?=",
        "=?unicode_escape?Q?=5Cud800?=",
        "=?raw_unicode_escape?Q?=5Cud800?=",
        "=?utf-7?Q?+2AA-?=",
        "=?utf_8_sig?Q?a?=",
        "=?utf-16?B?AAA=?=",
        "=?idna?Q?xn--a?=",
        "=?punycode?Q?a-b?=",
        "=?undefined?Q?a?=",
        "=?rot13?Q?a?=",
        "=?hex?Q?61?=",
        "=?../x?Q?a?=",
        "=?a.b?Q?a?=",
    ],
)
def test_names_that_are_no_charsets_are_not_looked_up(word):
    """Some codecs of Python make surrogates, and it remembers each name that it does not know."""
    names = []
    codecs.register(names.append)
    try:
        assert word == decode(word)
    finally:
        codecs.unregister(names.append)
    assert [] == names


def test_each_charset_is_a_codec_of_text():
    for charset in CHARSETS:
        assert "a" == decode(f"=?{charset.upper()}?Q?a?=")


@example("a" * 100 + "ü" * 20)
@example("ü" * 100)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_becomes_an_ascii_header_that_other_readers_decode(text):
    """No control character can end the header, and no encoded word is longer than allowed."""
    value = encode(text)

    assert value.isascii()
    assert not {*value} & {*range(0x20), 0x7F} - {0x09}
    assert all(len(word) <= 75 for word in value.split() if word.startswith(b"=?UTF-8?"))
    if not text.isascii():
        assert text == decode(value.decode()) == str(make_header(decode_header(value.decode())))
