"""Reading text: JSON or YAML, whatever it is, without harm to the reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.spec.document import MAX_BYTES, MAX_DEPTH, Report, read


def value_of(text):
    report = Report()
    value = read(text, report)
    assert [] == report.errors
    return value


def mistakes_of(text):
    report = Report()
    read(text, report)
    return [str(problem) for problem in report.errors]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(
            '{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}, id="json"
        ),
        pytest.param("a:\n  - 1\n  - b: c\n", {"a": [1, {"b": "c"}]}, id="yaml"),
        pytest.param("{a: 1, 'b': [x, y],}", {"a": 1, "b": ["x", "y"]}, id="yaml in braces"),
        pytest.param('# why\n{"a": 1}', {"a": 1}, id="json below a comment"),
        pytest.param('\ufeff{"a": 1}', {"a": 1}, id="byte order mark"),
        pytest.param(b'{"a": "\xc3\xa4"}', {"a": "ä"}, id="bytes"),
        pytest.param('{"a": "\\ud83d\\ude00"}', {"a": "😀"}, id="surrogate pair"),
        pytest.param("a: &x [1]\nb: *x", {"a": [1], "b": [1]}, id="alias"),
        pytest.param("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}, id="block text"),
        pytest.param("1: x", {"1": "x"}, id="key that looks like a number"),
        pytest.param("a: !!str 5", {"a": "5"}, id="tagged as text"),
        pytest.param("a: 1" + "0" * 5000, {"a": float("inf")}, id="number beyond all bounds"),
    ],
)
def test_reads_json_and_yaml(text, value):
    """JSON and YAML are read, and which of the two it is need not be said."""
    assert value == value_of(text)


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("010", 10),
        ("true", True),
        ("~", None),
        ("", None),
        ("-1.5e3", -1500.0),
        ("'5'", "5"),
    ],
)
def test_plain_yaml_means_what_it_looks_like(plain, value):
    """In YAML only true, false, null and decimal numbers are not text."""
    assert {"a": value} == value_of(f"a: {plain}")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param("", "the text is empty", id="empty"),
        pytest.param(" \n", "the text is empty", id="blank"),
        pytest.param(b"\xff", "the text is no UTF-8", id="not UTF-8"),
        pytest.param("\ud800", "the text is no UTF-8", id="half a surrogate pair"),
        pytest.param("x" * (MAX_BYTES + 1), f"at most {MAX_BYTES} are read", id="too long"),
        pytest.param('{"a" 1}', "line 1, column 6: Expecting ':' delimiter", id="bad JSON"),
        pytest.param("a: [1", "line ", id="bad YAML"),
        pytest.param("a: b: c", "line 1", id="bad YAML mapping"),
        pytest.param('{"a": 1} {"a": 2}', "line 1, column 10: Extra data", id="two in JSON"),
        pytest.param("a: 1\n---\na: 2", "several documents", id="two in YAML"),
        pytest.param("a: !!python/object:os.system x", "the tag", id="tag"),
        pytest.param("? [a]\n: b", "a key of an object is a list", id="list as key"),
        pytest.param("a: *x", "alias", id="alias of nothing"),
        pytest.param("a: &x [*x]", "alias", id="alias of itself"),
        pytest.param("[" * 100_000, "nested deeper", id="deep JSON, unclosed"),
        pytest.param("[" * 5000 + "]" * 5000, "nested deeper", id="deep JSON"),
        pytest.param("a: " + "[" * 500, "nested deeper", id="deep YAML"),
        # The parser may refuse this depth before it is counted, in words of its own.
        pytest.param("a: " + "[" * 5000, "", id="very deep YAML"),
        pytest.param("- " * 5000 + "x", "nested deeper", id="deep YAML in a line"),
    ],
)
def test_refuses_what_cannot_be_read(text, mistake):
    """What is no JSON and no YAML is one mistake, with its place where it has one."""
    (told,) = mistakes_of(text)

    assert mistake in told


def test_a_page_of_aliases_is_refused_before_it_unfolds():
    """Nine lines of YAML that mean billions of values are refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    (told,) = mistakes_of("\n".join(lines))

    assert "more than 100000 values" in told


def test_aliases_cannot_nest_deeper_than_brackets():
    """Aliases of aliases count as the depth they have when written out."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 10)]

    assert any("nested deeper" in told for told in mistakes_of("\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a": 1, "a": 2}', "/a"),
        ("a: 1\na: 2", "/a"),
        ('{"x": [{"a/b": 1, "a/b": 1}]}', "/x/0/a~1b"),
        ('{"~": 1, "~": 2}', "/~0"),
    ],
)
def test_a_key_that_stands_twice_is_a_mistake(text, pointer):
    """A key that stands twice in one object is told with its JSON pointer."""
    assert [f"{pointer}: the key stands here twice; keep one of the two"] == mistakes_of(text)


@pytest.mark.parametrize("text", ['{"a": "x\\u0000"}', '{"a": "\\ud800"}'])
def test_text_that_no_argument_can_hold_is_a_mistake(text):
    """NUL and half a surrogate pair are refused wherever they stand."""
    (told,) = mistakes_of(text)

    assert told.startswith("/a: the text")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_json_comes_back_as_it_was_written(value, ascii_only):
    """Any value that JSON can hold is read as the value it is."""
    assert value == value_of(json.dumps([value], ensure_ascii=ascii_only))[0]


@given(st.text() | st.binary())
def test_no_text_harms_the_reader(text):
    """Any text is a value or a mistake, and never an exception."""
    report = Report()
    value = read(text, report)

    assert value is None or not isinstance(value, Exception)


@given(st.lists(st.sampled_from(list("{}[]&*!|>-?:,#%@`\"' \n\\ua1")), max_size=40).map("".join))
def test_no_punctuation_harms_the_reader(text):
    """Any jumble of YAML's own characters is a value or a mistake."""
    read(text, Report())
