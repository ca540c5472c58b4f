"""Redaction of secrets in streams of bytes and in text."""

import base64
import json
import os
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spellings import SECRET, SPELLINGS

from worker.redaction import Redactor, _Needles, is_redactable


def redact(secrets: list[bytes], *pieces: bytes) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([*map(redactor.feed, pieces), redactor.finish()])


def model(secrets: list[bytes], text: bytes) -> bytes:
    """Replace each maximal run of overlapping occurrences by one mark."""
    spans = sorted(
        (start, start + len(secret))
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    shown, position = b"", 0
    for start, end in merged:
        shown += text[position:start] + b"***"
        position = end
    return shown + text[position:]


def test_a_secret_is_replaced_however_the_stream_is_split():
    """The position of the split does not matter."""
    text = b"password=hunter22; again hunter22\n"
    for cut in range(len(text)):
        assert b"password=***; again ***\n" == redact([b"hunter22"], text[:cut], text[cut:])


def test_a_multi_line_secret_is_replaced_as_a_whole_and_by_line():
    """Each of its long lines is a secret of its own."""
    key = b"-----BEGIN-----\nabcdefgh\nijklmnop\n-----END-----\n"

    assert b"a ***\nb" == redact([key], b"a " + key[:20], key[20:] + b"b")
    assert b"  ***\n" == redact([key], b"  abcdefgh\n")


@pytest.mark.parametrize("secret", ["$'hunter22", "$'\\hunter22", "a$'hunter22", "'$hunter22"])
def test_a_secret_with_a_dollar_sign_is_replaced_in_the_trace_of_a_shell(secret):
    """The quote after the sign is not that of ``$'…'``."""
    printed = "'" + secret.replace("'", "'\\''") + "'"

    assert "hunter22" not in Redactor([secret.encode()]).text(f"+ echo {printed}\n")


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_spellings_of_a_secret_are_replaced(name):
    """Formats escape or encode a secret; the text around it stays."""
    printed = SPELLINGS[name](SECRET).encode()

    assert b"<***>" == redact([SECRET.encode()], b"<" + printed + b">")


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_replaced_however_the_stream_is_split(name):
    """Also within an escape sequence."""
    text = b"a=" + SPELLINGS[name](SECRET).encode() + b"; b\n"
    for cut in range(len(text)):
        assert b"a=***; b\n" == redact([SECRET.encode()], text[:cut], text[cut:])
    assert b"a=***; b\n" == redact([SECRET.encode()], *(text[i : i + 1] for i in range(len(text))))


@pytest.mark.parametrize(
    "text", [b"giraffe&amp%3BTrombone", b"giraffe&%2338%3BTrombone", b"giraffe&#38%3bTrombone"]
)
def test_a_secret_is_replaced_if_the_split_is_in_two_escape_sequences(text):
    """The start of the outer one is the end of what may be the start of an inner one."""
    for cut in range(len(text)):
        assert b"***" == redact([b"giraffe&Trombone"], text[:cut], text[cut:])


SECRETS = st.text(
    "abcXYZ019-_.~ @&<>'\"\\$+%/=:;é€\U0001f511!#(){}[]nu41x", min_size=8, max_size=24
)


@given(
    SECRETS.map(str.strip).filter(lambda text: len(text) >= 8),
    # Of these, the quotes and an encoded backslash at the end may stay.
    st.sampled_from(sorted(SPELLINGS.keys() - {"name of a file", "html in a url"})),
    st.sampled_from(["<>", '""', "''", "=\n", "  "]),
    st.integers(0, 200),
)
@example("'quoted'", "shlex", "''", 2)
@example("<ends with\\", "html", '""', 9)
@example("%41%42\\n&", "json of Go", "<>", 9)
def test_any_secret_is_replaced_in_any_spelling(secret, name, around, cut):
    """Between any characters, as a whole and in two pieces."""
    text = f"{around[0]}{SPELLINGS[name](secret)}{around[1]}".encode()
    shown = redact([secret.encode()], text)

    # HTML, for one, leaves a backslash at the end as it is; a quote before may belong to an escape.
    assert b"***" in shown
    assert set(shown.decode().replace("***", "")) <= {*around, "\\"}
    assert shown == redact([secret.encode()], text[:cut], text[cut:])


NO_UTF_8 = b"binary-secret\xff\xfekey\x80words"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(os.fsdecode(NO_UTF_8)), id="json of a variable of Python"),
        pytest.param(ascii(os.fsdecode(NO_UTF_8)), id="ascii of a variable"),
        pytest.param(repr(NO_UTF_8), id="bytes"),
        pytest.param(
            json.dumps(NO_UTF_8.decode("utf-8", "replace")), id="json of Go and JavaScript"
        ),
        pytest.param(NO_UTF_8.decode("utf-8", "replace"), id="replaced"),
        pytest.param(json.dumps(NO_UTF_8.decode("latin-1")), id="json of Perl"),
        pytest.param(quote(NO_UTF_8), id="url"),
        pytest.param(base64.b64encode(NO_UTF_8).decode(), id="base64"),
    ],
)
def test_a_secret_that_is_no_text_is_replaced(text):
    """Programs show bytes that are not UTF-8 in different ways."""
    shown = redact([NO_UTF_8], *(bytes([each]) for each in text.encode()))

    assert b"***" == shown.strip(b"b'\"")


@pytest.mark.parametrize("user", ["", "u", "us", "use"])
def test_basic_credentials_are_replaced(user):
    """``Authorization: Basic`` has the user before the password, at each of three positions."""
    header = base64.b64encode(f"{user}:a-long-password".encode())
    shown = redact([b"a-long-password"], header)

    assert b"***" in shown
    assert b"password" not in base64.b64decode(shown.replace(b"***", b"") + b"==", validate=False)


@pytest.mark.parametrize("columns", [76, 64])
def test_base64_with_line_breaks_is_replaced(columns):
    """As ``base64`` and ``openssl base64`` print it."""
    secret = bytes(range(33, 127)) * 3
    encoded = base64.b64encode(secret)
    lines = [encoded[i : i + columns] for i in range(0, len(encoded), columns)]
    shown = redact([secret], b"".join(line + b"\n" for line in lines))

    assert {b"***"} == set(shown.split()[:-1])
    assert len(shown.split()[-1]) < 8


@pytest.mark.parametrize(
    "text",
    ["user=%20", "a\\nb", "it''s", 'x=""', "&amp;", "100% + 2", "\\", "\\\\u00", "\ud800", "***"],
)
def test_escape_sequences_without_a_secret_stay(text):
    """Nothing is decoded in what is returned."""
    data = text.encode("utf-8", "surrogatepass")

    assert data == redact([SECRET.encode(), b"p@ss"], data)
    assert text == Redactor([SECRET.encode(), b"p@ss"]).text(text)


@pytest.mark.parametrize("value", ["abc", "  a ", "true", "None", "password", ""])
def test_a_short_value_or_a_common_word_is_not_redacted(value):
    """It would hide other text."""
    assert not is_redactable(value.encode())


def test_a_cut_text_does_not_show_the_start_of_a_secret():
    """The rest of the secret is behind the cut."""
    redactor = Redactor([b"hunter22&more"])

    assert "curl -u ***" == redactor.text("curl -u hunter22", is_cut=True)
    assert "curl -u ***" == redactor.text("curl -u hunter22%2", is_cut=True)
    assert "curl -u hunter22" == redactor.text("curl -u hunter22")
    assert "sleep hu" == redactor.text("sleep hu", is_cut=True)
    assert "curl *** -v" == redactor.text("curl hunter22&more -v", is_cut=True)


def test_the_passes_over_a_text_do_not_depend_on_the_number_of_secrets(monkeypatch):
    """A certificate bundle has thousands of lines, each of which is a secret."""
    passes = []

    def counted(self, data, real=_Needles.matches):
        passes.append(len(data))
        return real(self, data)

    monkeypatch.setattr(_Needles, "matches", counted)
    counts = []
    for number in (1, 5000):
        redactor = Redactor([b"".join(b"line %d of a key/%d\n" % (i, i) for i in range(number))])
        passes.clear()
        redactor.feed(b'{"a": "b\\n", "c": "%20"}\n' * 1000)
        counts.append(len(passes))

    assert counts[0] == counts[1] < 8


def test_data_is_returned_at_once_if_no_secret_can_start():
    """A line of output is not delayed."""
    redactor = Redactor([b"hunter22"])

    assert b"a line\n" == redactor.feed(b"a line\n")


@pytest.mark.parametrize("text", ["20%", "a & b &", "Path: \\", 'say "', "x '", "x &#"])
def test_what_may_start_an_escape_sequence_is_returned_at_once(text):
    """A prompt or a progress bar is not delayed, since no secret starts with it."""
    redactor = Redactor([b"hunter22&more", b"tok-3n/value", bytes(range(48, 58)) * 9])

    assert text.encode() == redactor.feed(text.encode())


def test_text_is_redacted_independently_of_the_stream():
    """The name of a process can be redacted in the middle of a stream."""
    redactor = Redactor([b"hunter22"])
    shown = redactor.feed(b"hunt")

    assert "curl -u ***" == redactor.text("curl -u hunter22")
    assert b"***" == shown + redactor.feed(b"er22") + redactor.finish()


letters = st.text("ab", min_size=1, max_size=9).map(str.encode)


@given(st.lists(letters, max_size=3), st.lists(st.text("abc", max_size=12).map(str.encode)))
def test_a_redacted_stream_equals_the_redacted_whole(secrets, pieces):
    """The result is that of the model for the concatenated stream."""
    ways = [way for secret in secrets for way in Redactor([secret])._forms.plain.texts]

    assert model(ways, b"".join(pieces)) == redact(secrets, *pieces)


def test_bytes_that_are_withheld_before_a_gap_are_dropped():
    """They may be the start of a secret whose end is missing."""
    redactor = Redactor([b"hunter22"])

    assert b"a " == redactor.feed(b"a hunter")
    assert len(b"hunter") == redactor.drop()
    assert b"22 b" == redactor.feed(b"22 b") + redactor.finish()
