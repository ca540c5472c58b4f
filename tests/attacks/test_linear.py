"""Parsers take linear time for hostile text."""

import json

import pytest
import trustme
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from operations import lines_executed
from s3.protocol_builders import a_request

from worker.config import Config
from worker.job.hidden import hide_secrets
from worker.job.tls import java_trust_store
from worker.redaction import Redactor
from worker.s3 import (
    conditions,
    copying,
    list_parameters,
    reads,
    request,
    tags,
    xml_requests,
)
from worker.s3.authentication import verify
from worker.s3.aws_chunked import ChunkedDecoder
from worker.s3.error_codes import S3Error
from worker.s3.payload import Payload
from worker.s3.signing import Credentials
from worker.s3.xml_responses import text, url_text
from worker.spec.automaton import MAX_CACHED
from worker.spec.document import MAX_BYTES, Report, read
from worker.spec.glob import MAX_LENGTH, compile_glob
from worker.spec.parse import parse as parse_job
from worker.store.missing import MAX_COMPARED, MAX_NAMES, most_similar

LENGTH = 1 << 18
LONG = {
    "spaces": "a" + " " * LENGTH + '"',
    "commas": "," * LENGTH,
    "quotes": '"' * (LENGTH + 1),
    "weak tags": 'W/"' * (LENGTH // 3),
    "digits": "9" * LENGTH,
    "slashes": "/" * LENGTH,
    "percent signs": "%" * LENGTH,
    "escapes": "%25" * (LENGTH // 3),
    "ampersands": "&" * LENGTH,
    "equals signs": "=" * LENGTH,
    "pairs": "a=b&" * (LENGTH // 4),
    "semicolons": ";" * LENGTH,
    "words": "a, " * (LENGTH // 3),
    "colons": "1:" * (LENGTH // 2),
    "umlauts": "ü" * (LENGTH // 2),
    "a range of spaces": "bytes=" + " " * LENGTH + "x",
    "a range of digits": "bytes=" + "1" * LENGTH + "-",
    "a date": "Wed, 21 Oct " + " " * LENGTH + "2015",
}
PARSERS = {
    "entity tags": conditions.etags,
    "moment": conditions.parse_date,
    "range": lambda value: reads.select_range(value, 10),
    "range of a copy": lambda value: copying.copy_source_range(value, 10),
    "tags": tags.parse_tagging_header,
    "copy source": lambda value: copying.copy_source(
        a_request("PUT", "/out/k", {"x-amz-copy-source": value})
    ),
    "query": lambda value: request.parse(
        "GET", b"/out", value.encode(), [(b"host", b"h")], buckets=["out"]
    ),
    "path": lambda value: request.parse(
        "GET", b"/out/" + value.encode(), b"", [(b"host", b"h")], buckets=["out"]
    ),
    "host": lambda value: request.parse(
        "GET", b"/k", b"", [(b"host", value.encode())], buckets=["out"]
    ),
    "authorization": lambda value: verify(
        a_request(headers={"authorization": f"AWS4-HMAC-SHA256 {value}"}),
        Credentials("a", "b"),
        now=0.0,
    ),
    "token": list_parameters.start_of,
    "number": lambda value: list_parameters.integer({"max-keys": value}, "max-keys", 0),
    "XML text": text,
    "XML text, encoded": url_text,
    "override": lambda value: reads._overridden(
        a_request("GET", "/out/k?response-content-type=x"), {"content-type": value}
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_headers_and_queries_are_parsed_in_linear_time(parse):
    """Each value is 256 KiB long."""
    for value in LONG.values():
        try:
            parse(value)
        except S3Error:
            continue


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<Delete>" + b"x<a/>" * 119_990 + b"</Delete>", id="much divided text"),
        pytest.param(
            b"<Delete>" + (b"x" * 60 + b"<a/>") * 119_990 + b"</Delete>", id="long divided text"
        ),
        pytest.param(b"<Delete>" + b"&amp;" * 1_600_000 + b"</Delete>", id="references"),
        pytest.param(b"<Delete>" + b"<![CDATA[x]]>" * 600_000 + b"</Delete>", id="CDATA"),
        pytest.param(b"<Delete>" + b"<!--x-->" * 1_000_000 + b"</Delete>", id="comments"),
        pytest.param(b"<Delete>" + b"<?x y?>" * 1_000_000 + b"</Delete>", id="instructions"),
        pytest.param(b"<a>" * 2_000_000, id="depth"),
        pytest.param(b"<a/>" * 2_000_000, id="many roots"),
        pytest.param(
            b"<Delete " + b" ".join(b'a%d=""' % n for n in range(500_000)) + b"/>", id="attributes"
        ),
        pytest.param(
            b"<Delete " + b" ".join(b'xmlns:a%d="u"' % n for n in range(400_000)) + b"/>",
            id="namespaces",
        ),
        pytest.param(b"<Delete " + b"a" * 8_000_000, id="a name without an end"),
        pytest.param(b'<Delete a="' + b"a" * 8_000_000, id="a value without an end"),
        pytest.param(b"<!--" + b"-" * 8_000_000, id="a comment without an end"),
        pytest.param(b"<![CDATA[" * 800_000, id="CDATA without an end"),
    ],
)
def test_documents_are_parsed_in_linear_time(body):
    """Each document is 8 MiB long."""
    with pytest.raises(S3Error) as refused:
        xml_requests.parse_delete(body)

    assert "MalformedXML" == refused.value.code


LONG_NAME = b"u" * 200_000


@pytest.mark.parametrize(
    ("root", "inside"),
    [
        pytest.param(b'Delete xmlns="' + LONG_NAME + b'"', b"<a/>", id="default namespace"),
        pytest.param(b'Delete xmlns:p="' + LONG_NAME + b'"', b"<p:a/>", id="prefixed namespace"),
        pytest.param(
            b'Delete xmlns:p="' + LONG_NAME + b'"', b'<a p:b=""/>', id="namespace of attributes"
        ),
        pytest.param(b"Delete xmlns:" + LONG_NAME + b'="u"', b"<a/>", id="prefix"),
    ],
)
def test_a_long_name_is_not_repeated_for_each_element(root, inside, monkeypatch):
    """Counted in the characters of the names that the parser passes on."""
    body = b"<" + root + b">" + inside * 60_000 + b"</Delete>"
    passed = []

    class Reader(xml_requests._Reader):
        def start(self, name, attributes):
            passed.append(len(name) + sum(map(len, attributes)))
            super().start(name, attributes)

    monkeypatch.setattr(xml_requests, "_Reader", Reader)
    with pytest.raises(S3Error):
        xml_requests.parse_delete(body)

    assert 60_001 == len(passed)
    assert sum(passed) < len(body)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param((b"2000\r\n" + b"x" * 8192 + b"\r\n") * 500, id="the smallest chunks"),
        pytest.param(b"0" * 4_000_000, id="a size without an end"),
        pytest.param(b"0\r\n" + b"x-amz-checksum-crc32:a\r\n" * 200_000, id="one trailer, often"),
        pytest.param(b"0\r\n\r\n" + b"\r\n" * 2_000_000, id="empty lines behind the end"),
        pytest.param(b"1" + b";" * 4_000 + b"\r\n", id="extensions"),
    ],
)
def test_framing_is_decoded_in_linear_time(body):
    """The body is fed in single bytes, and all at once."""
    form = Payload(5 << 20, framed=True, trailer=True)
    for size in (len(body), 1000):
        decoder = ChunkedDecoder(form)
        try:
            for start in range(0, len(body), size):
                decoder.feed(body[start : start + size])
        except S3Error:
            continue


@pytest.mark.parametrize(
    ("head", "each", "tail"),
    [
        pytest.param(f'{{"{"k" * 500_000}":{{', '"a":1,', '"a":1}}', id="below a long key"),
        pytest.param(
            f'{{"{"k" * 1000}":' * 63 + "{", '"a":1,', '"a":1' + "}" * 64, id="below long keys"
        ),
        pytest.param("{", '"a":1,', '"a":1}', id="of short keys"),
        pytest.param("{", f'"{"k" * 60}":1,', '"a":1}', id="of long keys"),
    ],
)
def test_the_errors_of_a_document_are_bounded(head, each, tail):
    """Each has a pointer, which repeats the keys above it."""
    count = (MAX_BYTES - len(head) - len(tail)) // len(each)
    report = Report()

    read(head + each * count + tail, report)

    assert report.errors
    assert sum(len(str(problem)) + len(problem.pointer) for problem in report.errors) < 100 << 20


@pytest.mark.parametrize(
    "line", ["%TAG !a{}! b\n", "%YAML 1.{}\n", "%FOO {}\n"], ids=["TAG", "YAML", "reserved"]
)
def test_directives_of_yaml_are_bounded(line):
    """libyaml compares each with all before it."""
    report = Report()

    read("".join(map(line.format, range(50_000))) + "---\na: 1\n", report)

    assert ["the text has many lines that start with %"] == [each.reason for each in report.errors]


HOSTILE_GLOBS = {
    "a repeated group": "/+(+(a))b",
    "deeply repeated groups": "/" + "+(" * 32 + "a" + ")" * 32 + "b",
    "repeated groups that match nothing": "/" + "*(" * 31 + "?(a)" + ")" * 31 + "b",
    "repeated alternatives": "/*(a|aa|aaa|a*)b",
    "optional groups": "/" + "?(a)" * 100 + "b",
    "braces": "/" + "{a,a}" * 100 + "b",
    "stars": "/" + "*a" * 100 + "b",
    "double stars": "/" + "**a" * 100 + "b",
    "groups of stars": "/" + "@(*|**)" * 50 + "b",
    "negations": "/" + "!(b)" * 100 + "c",
    "nested negations": "/" + "!(" * 32 + "a*" + ")" * 32 + "b",
    "repeated negations": "/" + "*(!(b))" * 20 + "a",
    "classes": "/" + "*[!b]" * 100 + "b",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("glob", HOSTILE_GLOBS.values(), ids=HOSTILE_GLOBS)
def test_a_glob_is_matched_in_linear_time(glob):
    """Ten lines of code for each state and character, at most. Backtracking takes 2^1,000 steps."""

    def match(length):
        compiled = compile_glob(glob)
        key = "a" * length
        return lines_executed(lambda: list(compiled.select([key])))

    lines = match(1000)

    assert lines < 10 * len(glob) * 1000
    assert lines < 3 * match(500)


@pytest.mark.parametrize(
    "construct", ["a", "*", "?", "[a]", "{a,b}", "@(a|b)", "+(a)", "!(a)", "!(!(a))", "\\a"]
)
def test_a_glob_is_compiled_in_linear_time(construct):
    """The longest glob has 4,096 characters; no construct is expanded."""

    def compiled(length):
        text = "/" + construct * (length // len(construct))
        return lines_executed(lambda: compile_glob(text))

    lines = compiled(MAX_LENGTH - 1)

    assert lines < 60 * MAX_LENGTH
    assert lines < 3 * compiled(MAX_LENGTH // 2)


def test_the_cache_of_a_glob_is_bounded():
    """A text of many different characters does not fill the memory; it matches as any other."""
    glob = compile_glob("/" + "**?" * 300 + "x")
    texts = ["".join(map(chr, range(start, start + 600))) for start in range(0x4E00, 0x5800, 600)]
    keys = sorted([*texts, *(f"{text}x" for text in texts)])

    found = [match.path[1:] for match in glob.select(keys)]

    assert [key for key in keys if key.endswith("x")] == found
    assert glob._automaton.cached <= MAX_CACHED + MAX_LENGTH


HOSTILE_SECRETS = {
    "lines that end with each other": b"\n".join(b"a" * n for n in range(8, 108)),
    "lines with one start": b"\n".join(b"aaaa%05d" % n for n in range(1000)),
    "lines with one end": b"\n".join(b"%05daaaa" % n for n in range(1000)),
    "one character": b"a" * 1000,
    "one character and another": b"a" * 1000 + b"b",
    "backslashes": b"\\" * 40 + b"aaa",
    "no letters": "ö&<€'".encode(),
}
HOSTILE_OUTPUT = {
    "a": b"a",
    "backslashes": b"\\",
    "quotes": b"'\"'\"'",
    "escapes": b"\\u0061%61&#97;aaa",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("output", HOSTILE_OUTPUT.values(), ids=HOSTILE_OUTPUT)
@pytest.mark.parametrize("secret", HOSTILE_SECRETS.values(), ids=HOSTILE_SECRETS)
def test_output_is_redacted_in_linear_time(secret, output):
    """Whatever the secret is, which a document may choose: some lines of code for each byte."""
    size = 2000

    def redact(count):
        redactor = Redactor([secret])
        data = (output * size)[:size]
        return lines_executed(lambda: [redactor.feed(data) for _ in range(count)])

    lines = redact(2)

    assert lines < 400 * 2 * size
    assert redact(4) < 4 * lines + 1000


def hide(env):
    """Hide the secrets of a job with these variables; return how many warnings there are."""
    document = {
        "pipeline": {"name": "p"},
        "transform": {"cmd": ["true"], "env": env},
        "input": {"pfs": {"name": "in", "repo": "in", "glob": "/"}},
    }
    return len(hide_secrets(parse_job(json.dumps(document)), Config(), {}))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("url", "short"),
    [
        pytest.param("://:a", 0, id="without an at sign"),
        pytest.param("://a:1/", 0, id="ports"),
        pytest.param("://", 0, id="starts"),
        pytest.param("://:a@", 1, id="with the same password"),
        pytest.param("@", 0, id="at signs"),
    ],
)
def test_the_passwords_of_urls_are_found_in_linear_time(url, short):
    """In the variables of a document, of any length that it may have."""
    assert hide({"URLS": url * (MAX_BYTES // 2 // len(url))}) == short


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "env",
    [
        pytest.param(lambda n: {f"A{i}_TOKEN": f"value-{i:05}" for i in range(n)}, id="variables"),
        pytest.param(lambda n: {"URLS": "".join(f"://:{i:05}@" for i in range(n))}, id="passwords"),
    ],
)
def test_secrets_are_hidden_in_linear_time(env):
    """However many a document has: the search for all is prepared once."""
    lines = lines_executed(lambda: hide(env(100)))

    assert lines_executed(lambda: hide(env(400))) < 6 * lines


AUTHORITY = trustme.CA().cert_pem.bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"-----BEGIN CERTIFICATE-----\n" * 40_000, id="starts"),
        pytest.param((b"-----BEGIN CERTIFICATE-----\n" + b"A" * 100) * 9_000, id="without an end"),
        pytest.param(b"-----END CERTIFICATE-----\n" * 40_000, id="ends"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\n" + b"A" * 1_000_000, id="a long one"),
        pytest.param(b"-" * 1_000_000, id="hyphens"),
    ],
)
def test_a_bundle_of_certificates_is_read_in_linear_time(pem):
    """The file of the system's authorities, which a user can name, before that of the job."""
    found = load_pkcs12(java_trust_store(pem + b"\n" + AUTHORITY), None)

    assert 1 == len(found.additional_certs)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("length", [64, 199])
def test_a_missing_repo_is_compared_with_a_bounded_number_of_characters(length):
    """A comparison takes time with the square of the length of the names."""
    names = [f"{'ab' * length}"[: length - 4] + f"{number:04}" for number in range(MAX_NAMES)]

    close = most_similar(("ba" * length)[:length], names)

    assert (close is None) == (length > MAX_COMPARED)
