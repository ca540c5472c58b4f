"""XML text in both directions, and hostile documents."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.xml_requests import MAX_DEPTH, parse_xml
from worker.s3.xml_responses import document, element, text, url_text

# The characters that XML 1.0 can represent.
REPRESENTABLE = st.characters(
    exclude_categories=["Cs"],
    exclude_characters="".join(map(chr, [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])),
)


@given(st.text(REPRESENTABLE))
def test_text_round_trips(value):
    """Also through another parser; carriage returns too."""
    written = document("Root", element("Key", value))

    assert value == parse_xml(written, "Root").get("Key")
    assert value == ET.fromstring(written)[0].text or not value


@given(st.text())
def test_every_document_is_well_formed(value):
    """For any text."""
    found = parse_xml(document("Root", element("Key", value)), "Root").get("Key")

    assert found is not None
    assert len(found) == len(value)


def test_characters_that_xml_cannot_represent_are_replaced():
    assert "a\ufffdb" == text("a\x01b")
    assert "&lt;&amp;&gt;&quot;&apos;&#13;" == text("<&>\"'\r")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b-c_d.e*f", "a/b-c_d.e*f"),
        ("a b+c", "a+b%2Bc"),
        ("é\x01", "%C3%A9%01"),
        ("100%", "100%25"),
        ("!'()~,;:@=\"<>|", "%21%27%28%29%7E%2C%3B%3A%40%3D%22%3C%3E%7C"),
    ],
)
def test_url_encoding_is_that_of_s3(value, expected):
    """A space is a plus sign, and a tilde is encoded."""
    assert expected == url_text(value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<Root><Key>a</Key></Root>", id="plain"),
        pytest.param(
            b'<Root xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>a</Key></Root>',
            id="namespace",
        ),
        pytest.param(b'<x:Root xmlns:x="u"><x:Key>a</x:Key></x:Root>', id="namespace prefix"),
        pytest.param(
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Root>\n <Key>a</Key>\n</Root>\n',
            id="XML declaration",
        ),
        pytest.param(
            b'<x:Root xmlns:x="u"><y:Key xmlns:y="v" y:a="b" xml:lang="en">a</y:Key></x:Root>',
            id="two namespace prefixes",
        ),
        pytest.param("<Root><Key>a</Key></Root>".encode("utf-16"), id="UTF-16"),
        pytest.param(b"<Root><Key><![CDATA[a]]></Key></Root>", id="CDATA"),
        pytest.param(b"<Root><!-- c --><Key>&#97;</Key></Root>", id="character reference"),
    ],
)
def test_equivalent_documents_are_equal(body):
    """With and without a namespace."""
    assert "a" == parse_xml(body, "Root").get("Key")


XSI = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (f'<Root xmlns:xsi="{XSI}" xsi:type="Group"/>', "Group"),
        (f'<Root x:type="Group" xmlns:x="{XSI}"/>', "Group"),
        (f'<Root><a xmlns:x="{XSI}" xmlns:y="u" x:type="Group" y:type="b"/></Root>', "Group"),
        (f'<Root xmlns:x="{XSI}"><a x:type="Group"/></Root>', "Group"),
        (f'<Root xmlns:x="{XSI}"><a xmlns:x="u" x:type="Group"/></Root>', ""),
        (f'<Root xmlns:x="u"><b xmlns:x="{XSI}"/><a x:type="Group"/></Root>', ""),
        (f'<Root xmlns:type="{XSI}" type="Group"/>', ""),
    ],
)
def test_the_type_of_an_element_is_an_attribute_of_its_namespace(body, kind):
    """Whatever its prefix."""
    root = parse_xml(body.encode(), "Root")

    assert kind == (root.children[-1] if root.children else root).kind


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Root", id="not XML"),
        pytest.param(b"<Root>", id="missing end tag"),
        pytest.param(b"<Root></Toor>", id="wrong end tag"),
        pytest.param(b"<Other/>", id="wrong root element"),
        pytest.param(b"<Root/><Root/>", id="two root elements"),
        pytest.param(b"<Root>&unknown;</Root>", id="undefined entity"),
        pytest.param(b"<Root>\xff</Root>", id="not UTF-8"),
        pytest.param(b"<Root>&#1;</Root>", id="invalid character reference"),
        pytest.param(b"<x:Root/>", id="undeclared prefix"),
        pytest.param(b'<Root x:a="b"/>', id="undeclared prefix of an attribute"),
        pytest.param(b'<Root><a xmlns:x="u"/><x:b/></Root>', id="prefix after its element"),
        pytest.param(b'<?xml version="1.0" encoding="klingon"?><Root/>', id="unknown encoding"),
        pytest.param(b'<?xml version="1.0" encoding="utf-7"?><Root/>', id="UTF-7"),
        pytest.param(b"<!DOCTYPE Root><Root/>", id="document type"),
        pytest.param(
            b'<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><Root>&b;</Root>',
            id="entity expansion",
        ),
        pytest.param(
            b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><Root>&a;</Root>',
            id="external entity",
        ),
        pytest.param(
            b"<Root>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</Root>", id="too deep"
        ),
        pytest.param(b'<Root a="' + b"x" * 400_000 + b'"/>', id="tag of 400 kB"),
        pytest.param(b"<Root>" + b"<a/>" * 200_000 + b"</Root>", id="too many elements"),
    ],
)
def test_other_documents_are_malformed_xml(body):
    with raises_s3_error("MalformedXML"):
        parse_xml(body, "Root")


@given(st.one_of(st.binary(), st.text(st.sampled_from("<>/a&;'\"=! []")).map(str.encode)))
def test_parsing_raises_only_s3_errors(body):
    """For any bytes."""
    for document_ in (body, b"<Root>" + body + b"</Root>", b"<Root " + body + b"/>"):
        try:
            parse_xml(document_, "Root")
        except S3Error:
            continue
