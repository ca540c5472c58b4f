"""The reader of JSON and YAML: values, errors, and limits on hostile text."""

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


def errors_of(text):
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
        pytest.param("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}, id="block scalar"),
        pytest.param("1: x", {"1": "x"}, id="numeric key"),
        pytest.param("%YAML 1.2\n%TAG !e! tag:e,1:\n---\na: 1", {"a": 1}, id="yaml directives"),
        pytest.param("a: |\n" + "  %x\n" * 100, {"a": "%x\n" * 100}, id="percent signs"),
        pytest.param(f'{{"{"k" * 1024}": 1}}', {"k" * 1024: 1}, id="key of 1,024 characters"),
        pytest.param("a: !!str 5", {"a": "5"}, id="string tag"),
        pytest.param("a: 1" + "0" * 5000, {"a": float("inf")}, id="number out of range"),
    ],
)
def test_json_and_yaml_are_read_without_a_declared_format(text, value):
    """The reader detects the format from the text."""
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
def test_plain_yaml_scalars_follow_the_core_schema_of_yaml_1_2(plain, value):
    """Only true, false, null and decimal numbers are not strings."""
    assert {"a": value} == value_of(f"a: {plain}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "the text is empty", id="empty"),
        pytest.param(" \n", "the text is empty", id="blank"),
        pytest.param(b"\xff", "the text is not UTF-8", id="not UTF-8"),
        pytest.param("\ud800", "the text is not UTF-8", id="unpaired surrogate"),
        pytest.param("x" * (MAX_BYTES + 1), f"the limit is {MAX_BYTES}", id="too long"),
        pytest.param('{"a" 1}', "line 1, column 6: ", id="bad JSON"),
        pytest.param("a: [1", "line ", id="bad YAML"),
        pytest.param("a: b: c", "line 1", id="bad YAML mapping"),
        pytest.param('{"a": 1} {"a": 2}', "several documents", id="two in JSON"),
        pytest.param("a: 1\n---\na: 2", "several documents", id="two in YAML"),
        pytest.param("a: !!python/object:os.system x", "the tag", id="tag"),
        pytest.param("? [a]\n: b", "a key of an object is a list", id="list as key"),
        pytest.param("a: *x", "alias", id="undefined alias"),
        pytest.param("a: &x [*x]", "alias", id="recursive alias"),
        pytest.param("[" * 100_000, "nested deeper", id="deep JSON, unclosed"),
        pytest.param("[" * 5000 + "]" * 5000, "nested deeper", id="deep JSON"),
        pytest.param("a: " + "[" * 500, "nested deeper", id="deep YAML"),
        # Some versions of the parser reject this depth themselves, with their own message.
        pytest.param("a: " + "[" * 5000, "", id="very deep YAML"),
        pytest.param("- " * 5000 + "x", "nested deeper", id="deep YAML in a line"),
    ],
)
def test_unreadable_text_is_one_error(text, reason):
    """Text that is neither JSON nor YAML is one error, with line and column where known."""
    (error,) = errors_of(text)

    assert reason in error


def test_aliases_are_limited_by_the_values_they_expand_to():
    """Twelve lines of YAML that expand to billions of values are rejected."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    (error,) = errors_of("\n".join(lines))

    assert "more than 100000 values" in error


def test_aliases_are_limited_by_the_depth_they_expand_to():
    """An alias of an alias is as deep as the same brackets."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 10)]

    assert any("nested deeper" in error for error in errors_of("\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a": 1, "a": 2}', "/a"),
        ("a: 1\na: 2", "/a"),
        ('{"x": [{"a/b": 1, "a/b": 1}]}', "/x/0/a~1b"),
        ('{"~": 1, "~": 2}', "/~0"),
    ],
)
def test_a_duplicate_key_is_an_error(text, pointer):
    """The error has the JSON pointer of the key."""
    assert [f"{pointer}: duplicate key; keep one of the two"] == errors_of(text)


@pytest.mark.parametrize("text", ['{"a": "x\\u0000"}', '{"a": "\\ud800"}'])
def test_nul_and_unpaired_surrogates_are_errors(text):
    """No argument, variable or path can hold these characters."""
    (error,) = errors_of(text)

    assert error.startswith("/a: the string")


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
def test_json_round_trips(value, ascii_only):
    """Any JSON value is read as the value that was written."""
    assert value == value_of(json.dumps([value], ensure_ascii=ascii_only))[0]


@given(st.text() | st.binary())
def test_any_text_is_a_value_or_errors(text):
    """No text raises an exception."""
    read(text, Report())


@given(st.lists(st.sampled_from(list("{}[]&*!|>-?:,#%@`\"' \n\\ua1")), max_size=40).map("".join))
def test_any_yaml_punctuation_is_a_value_or_errors(text):
    """No sequence of YAML's indicators raises an exception."""
    read(text, Report())


def test_a_key_over_1024_characters_is_an_error():
    (error,) = errors_of(json.dumps({"a": {"k" * 1025: {"b": 1}}}))

    assert error.startswith('/a: the key "kkk')
    assert error.endswith("has 1025 characters; the limit is 1024")
