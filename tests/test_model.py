"""Refs, the notation of commits and files."""

import pytest

from worker.errors import Invalid
from worker.model import BranchName, Ref, Repo, parse_ref

ID = "0123456789abcdef0123456789abcdef"
LAB = Repo("default", "lab")

REFS = {
    "lab": Ref(LAB),
    "p/lab": Ref(Repo("p", "lab")),
    "lab@dev": Ref(LAB, "dev"),
    "p/lab@dev": Ref(Repo("p", "lab"), "dev"),
    f"lab@{ID}": Ref(LAB, ID),
    "lab^": Ref(LAB, back=1),
    "lab@dev^": Ref(LAB, "dev", back=1),
    "lab@dev~3": Ref(LAB, "dev", back=3),
    "lab@dev~0": Ref(LAB, "dev"),
    "lab@dev^^~2": Ref(LAB, "dev", back=4),
    "lab:a.txt": Ref(LAB, path="a.txt"),
    "lab:/a.txt": Ref(LAB, path="a.txt"),
    "lab://a.txt": Ref(LAB, path="/a.txt"),
    "lab:": Ref(LAB),
    "lab@dev~2:a b/ü:@^~1\n": Ref(LAB, "dev", back=2, path="a b/ü:@^~1\n"),
}


@pytest.mark.parametrize(("text", "expected"), REFS.items(), ids=REFS)
def test_parse_ref_reads_all_parts(text, expected):
    """Only the repo is required."""
    assert expected == parse_ref(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@dev",
        "/lab",
        "p/",
        "a/b/c",
        "lab@",
        "lab@a@b",
        "lab@dev^x",
        "lä",
        "l b",
        "../lab",
        ":a",
    ],
)
def test_parse_ref_rejects_other_text(text):
    with pytest.raises(Invalid):
        parse_ref(text)


@pytest.mark.parametrize("ref", REFS.values(), ids=REFS)
def test_a_formatted_ref_parses_to_itself(ref):
    """Except for a path that starts with a slash."""
    if not ref.path.startswith("/"):
        assert ref == parse_ref(str(ref))


def test_parse_ref_uses_the_given_default_project():
    assert Repo("p", "lab") == parse_ref("lab", project="p").repo


def test_a_ref_in_the_form_of_an_id_can_be_a_commit():
    assert parse_ref(f"lab@{ID}").is_commit
    assert not parse_ref("lab@dev").is_commit
    assert BranchName(LAB, "dev") == parse_ref("lab@dev").branch
