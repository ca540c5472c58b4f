"""Globs with Pachyderm's meaning: the files and folders of a commit that they match."""

import contextlib
import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worker.spec.glob import InvalidGlob, Match, compile_glob, normalize

KEYS = sorted(
    [
        "2023/jan/a.csv",
        "2023/jan/b.csv",
        "2023/feb/a.csv",
        "2024/jan/a.csv",
        "2024/readme.md",
        "readme.md",
        "notes.txt",
        "x[1].txt",
    ]
)


def selected(glob, keys=KEYS):
    """Return the selected paths, folders with a trailing slash."""
    matches = compile_glob(glob).select(keys)
    return [match.path + "/" * (match.folder and match.path != "/") for match in matches]


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("/", ["/"]),
        ("/*", ["/2023/", "/2024/", "/notes.txt", "/readme.md", "/x[1].txt"]),
        ("/*/", ["/2023/", "/2024/", "/notes.txt", "/readme.md", "/x[1].txt"]),
        ("*", ["/2023/", "/2024/", "/notes.txt", "/readme.md", "/x[1].txt"]),
        ("/*/*", ["/2023/feb/", "/2023/jan/", "/2024/jan/", "/2024/readme.md"]),
        ("/2023", ["/2023/"]),
        ("/2023/", ["/2023/"]),
        ("/202?/jan", ["/2023/jan/", "/2024/jan/"]),
        ("/**.md", ["/2024/readme.md", "/readme.md"]),
        ("/**/a.csv", ["/2023/feb/a.csv", "/2023/jan/a.csv", "/2024/jan/a.csv"]),
        ("/2023/**", [
            "/2023/feb/", "/2023/feb/a.csv", "/2023/jan/", "/2023/jan/a.csv", "/2023/jan/b.csv",
        ]),
        ("/{2023,2024}/jan", ["/2023/jan/", "/2024/jan/"]),
        ("/{2023/feb,readme.md}", ["/2023/feb/", "/readme.md"]),
        ("/202[34]", ["/2023/", "/2024/"]),
        ("/202[!3]", ["/2024/"]),
        ("/[a-m]*", []),
        ("/[a-n]*", ["/notes.txt"]),
        ("/@(notes|readme).*", ["/notes.txt", "/readme.md"]),
        ("/(notes|readme).*", ["/notes.txt", "/readme.md"]),
        ("/+([0-9])", ["/2023/", "/2024/"]),
        ("/!(202*)", ["/notes.txt", "/readme.md", "/x[1].txt"]),
        ("/x\\[1\\].txt", ["/x[1].txt"]),
        ("/nothing", []),
        ("//2023//jan/./x/../a.csv", ["/2023/jan/a.csv"]),
    ],
)  # fmt: skip
def test_a_glob_selects_files_and_folders(glob, paths):
    """Each match is a file, or a folder with everything below it."""
    assert paths == selected(glob)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        # Wildcards
        ("/a?c", "/abc", True),
        ("/a?c", "/a/c", False),
        ("/a*c", "/ac", True),
        ("/a*c", "/a/c", False),
        ("/a**c", "/a/b/c", True),
        ("/**", "/a", True),
        ("/**", "/", False),
        ("/*", "/.hidden", True),
        ("/a\nb", "/a\nb", True),
        ("/**", "/a\nb", True),
        # Classes
        ("/[a-c]", "/b", True),
        ("/[a-c]", "/d", False),
        ("/[^a-c]", "/d", True),
        ("/[!a-c]", "/b", False),
        ("/a[!b]c", "/a/c", False),
        ("/[a-cx-z_]", "/y", True),
        ("/[a-cx-z_]", "/_", True),
        ("/[a-]", "/-", True),
        ("/[\\]]", "/]", True),
        ("/[[:alpha:]]", "/Q", True),
        ("/[[:alpha:]]", "/5", False),
        ("/[[:^alpha:]]", "/5", True),
        ("/[^[:digit:]_]", "/_", False),
        ("/[*?]", "/*", True),
        ("/[*?]", "/a", False),
        # Alternatives
        ("/{a,b}", "/b", True),
        ("/{a,b}c", "/bc", True),
        ("/{a,}c", "/c", True),
        ("/{a,b{c,d}}", "/bd", True),
        ("/{a|b,c}", "/a|b", True),
        ("/a,b", "/a,b", True),
        ("/a}b)c|d", "/a}b)c|d", True),
        # Groups
        ("/@(a|b)", "/a", True),
        ("/@(a|b)", "/ab", False),
        ("/?(a)b", "/b", True),
        ("/?(a)b", "/aab", False),
        ("/*(ab)", "/abab", True),
        ("/*(ab)c", "/c", True),
        ("/+(ab)c", "/c", False),
        ("/+(ab|c)", "/abcab", True),
        ("/@(a*|b)/c", "/axx/c", True),
        ("/@(a,b)", "/a,b", True),
        ("/a**(b|c)", "/axxbcb", True),
        ("/+(a/)b", "/a/a/b", True),
        # Negation
        ("/!(a)", "/b", True),
        ("/!(a)", "/a", False),
        ("/!(a)", "/ab", True),
        ("/!(*.js|*.json)", "/a.js", False),
        ("/!(*.js|*.json)", "/a.js.gz", True),
        ("/!(a)", "/b/c", False),
        ("/!(a)/b", "/c/b", True),
        ("/!(!(a))", "/a", True),
        ("/!(!(a))", "/b", False),
        ("/!(foo)*", "/foobar", False),
        ("/@(!(z*)|*x)", "/zoot", False),
        ("/@(!(z*)|*x)", "/zoox", True),
        # Literal characters
        ("/a@b+c!d", "/a@b+c!d", True),
        ("/a.c", "/abc", False),
        ("/a$^", "/a$^", True),
        ("/\\*", "/*", True),
        ("/\\*", "/a", False),
    ],
)  # fmt: skip
def test_each_construct_matches_as_in_pachyderm(glob, path, matches):
    """Each row is one construct of the syntax."""
    found = {match.path for match in compile_glob(glob).select([path[1:] or "a"])}

    assert matches is (path in found)


@pytest.mark.parametrize(
    ("glob", "reason"),
    [
        ("/[a", "`[` is not closed"),
        ("/[a-", "`[` is not closed"),
        ("/[]", "empty class"),
        ("/[!]", "empty class"),
        ("/[c-a]", "is reversed"),
        ("/[[:letter:]]", "not a POSIX character class"),
        ("/{a,b", "`{` is not closed"),
        ("/@(a|b", "`(` is not closed"),
        ("/(a", "`(` is not closed"),
        ("/a\\", "backslash"),
        ("/" + "(" * 100 + ")" * 100, "nested deeper"),
        ("/" + "a" * 5000, "5001 characters"),
    ],
)
def test_an_invalid_glob_is_rejected_with_the_reason(glob, reason):
    """The reason names the construct."""
    with pytest.raises(InvalidGlob, match="the glob") as caught:
        compile_glob(glob)

    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("text", "normalized"),
    [("", "/"), ("/", "/"), ("//", "/"), ("a", "/a"), ("a/", "/a"), ("../a", "/a"), ("./*", "/*")],
)
def test_a_glob_is_normalized_like_a_path(text, normalized):
    """It has a leading slash, and no double or trailing ones."""
    assert normalized == normalize(text)


def test_the_root_glob_selects_an_empty_commit():
    """`/` is one datum whatever the commit holds."""
    assert ["/"] == selected("/", [])
    assert [] == selected("/**", [])


def test_a_folder_marker_is_a_folder():
    """A key with a trailing slash is an empty folder, not a file."""
    assert ["/a/"] == selected("/*", ["a/"])
    assert ["/a/", "/a/b/"] == selected("/**", ["a/b/"])


def test_the_prefix_of_a_match_selects_its_keys():
    """The prefix of a folder ends in a slash; that of a file is its key."""
    assert "a/" == Match("/a", folder=True).prefix
    assert "a" == Match("/a", folder=False).prefix
    assert "" == Match("/", folder=True).prefix


@pytest.mark.parametrize(
    ("glob", "prefix", "depth"),
    [
        ("/2023/*", "2023/", 2),
        ("/2023/j*", "2023/j", 2),
        ("/*", "", 1),
        ("/**", "", float("inf")),
        ("/a/{b/c,d}", "a/", 3),
        ("/+(a/)b", "", float("inf")),
    ],
)
def test_a_glob_bounds_the_keys_that_can_match(glob, prefix, depth):
    """Prefix and depth let a reader of a large tree skip keys."""
    compiled = compile_glob(glob)

    assert (prefix, depth) == (compiled.prefix, compiled.depth)


# --- comparison with a model ----------------------------------------------------------------------

# A node is a token without parts, or a kind of group with its alternatives, which are lists of
# nodes.
TOKENS = st.sampled_from(["a", "b", "/", "?", "*", "**", "[b]", "[!a]", "[^[:digit:]b]", "\\a"])
KINDS = st.sampled_from(["{", "@(", "?(", "*(", "+(", "!("])
NODES = st.recursive(
    TOKENS,
    lambda parts: st.tuples(KINDS, st.lists(st.lists(parts, max_size=3), min_size=1, max_size=3)),
    max_leaves=8,
)
PARTS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4)
TREES = st.sets(PARTS.map("/".join), max_size=12).map(sorted)


def written(nodes):
    """Return the text of *nodes*."""
    text = ""
    for node in nodes:
        if isinstance(node, str):
            text += node
        else:
            kind, choices = node
            between, closing = (",", "}") if kind == "{" else ("|", ")")
            text += kind + between.join(map(written, choices)) + closing
    return text


def is_ambiguous(nodes):
    """Whether a star is followed by another, with which its text would be another token."""
    texts = [node if isinstance(node, str) else node[0] for node in nodes]
    return any(a == b == "*" for a, b in itertools.pairwise(texts)) or any(
        is_ambiguous(choice) for node in nodes if not isinstance(node, str) for choice in node[1]
    )


def ends(nodes, text, start, last):
    """Return the positions at which a match of *nodes* from *start* of *text* can end.

    *last* says that nothing follows the nodes. Every position is tried, without an automaton.
    """
    found = {start}
    for number, node in enumerate(nodes):
        is_last = last and number == len(nodes) - 1
        found = {end for at in found for end in ends_of(node, text, at, is_last)}
    return found


def ends_of(node, text, start, last):
    """Return the positions at which a match of *node* from *start* of *text* can end."""
    rest = text[start:]
    slash = len(rest.split("/")[0])
    if isinstance(node, str):
        within = {
            "*": range(slash + 1),
            "**": range(len(rest) + 1),
            "?": [1] if slash else [],
            "[b]": [1] if rest.startswith("b") else [],
            "[!a]": [1] if slash and rest[0] != "a" else [],
            "[^[:digit:]b]": [1] if slash and rest[0] != "b" else [],
            "\\a": [1] if rest.startswith("a") else [],
        }
        return {start + n for n in within.get(node, [1] if rest.startswith(node) else [])}
    kind, choices = node
    if kind == "!(":
        excluded = {end for choice in choices for end in ends(choice, text, start, last)}
        is_excluded = len(text) in excluded if last else bool(excluded)
        return set() if is_excluded else {start + n for n in range(slash + 1)}

    def once(at):
        return {end for choice in choices for end in ends(choice, text, at, last)}

    found = once(start)
    if kind in ("*(", "+("):
        while more := {end for at in found for end in once(at)} - found:
            found |= more
    return found | {start} if kind in ("?(", "*(") else found


def expected_matches(nodes, keys):
    """Yield the matches of the model, which compares every path separately."""
    folders = set()
    for key in keys:
        parts = key.split("/")
        for path in itertools.accumulate(parts[:-1], lambda a, b: f"{a}/{b}"):
            if path not in folders and len(path) + 1 in ends(nodes, "/" + path, 0, True):
                yield Match("/" + path, folder=True)
            folders.add(path)
        if len(key) + 1 in ends(nodes, "/" + key, 0, True):
            yield Match("/" + key, folder=False)


@settings(max_examples=400)
@given(st.lists(NODES, max_size=5), TREES)
def test_a_glob_selects_the_same_paths_as_a_simple_model(nodes, keys):
    """Any glob on any tree selects the matching paths in the order of the keys."""
    nodes = ["/", *nodes]
    text = written(nodes)
    assume(normalize(text) == text and not is_ambiguous(nodes) and text != "/")

    assert list(expected_matches(nodes, keys)) == list(compile_glob(text).select(keys))


@given(st.text("ab/*?[]{}()!@+|,\\-:^", max_size=30))
def test_any_text_is_a_glob_or_invalid(text):
    """Compiling raises no other exception."""
    with contextlib.suppress(InvalidGlob):
        assert compile_glob(text).text.startswith("/")


def test_keys_are_consumed_lazily_and_once():
    """The keys may be an iterator over a tree that is read on demand."""
    keys = iter(["a/b", "c/b"])
    matches = compile_glob("/*/b").select(keys)

    assert Match("/a/b", folder=False) == next(matches)
    assert ["c/b"] == list(keys)
