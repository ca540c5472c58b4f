"""How commits and files of them are named."""

import pytest

from worker.errors import Invalid
from worker.model import BranchName, Repo
from worker.store.refs import Ref, parse_ref

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
def test_reads_refs(text, expected):
    """A ref names a repo, and perhaps a project, a branch or commit, steps back and a path."""
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
def test_refuses_what_is_no_ref(text):
    """What can't name a commit is refused with what was found."""
    with pytest.raises(Invalid):
        parse_ref(text)


@pytest.mark.parametrize("ref", REFS.values(), ids=REFS)
def test_reads_what_it_says(ref):
    """A ref as text is the same ref, but for a path that begins with a slash."""
    if not ref.path.startswith("/"):
        assert ref == parse_ref(str(ref))


def test_takes_the_project_that_is_meant():
    """A ref without a project is of the project that the caller means."""
    assert Repo("p", "lab") == parse_ref("lab", project="p").repo


def test_knows_branches_from_commits():
    """What has the form of an id is taken for a commit first."""
    assert parse_ref(f"lab@{ID}").is_commit
    assert not parse_ref("lab@dev").is_commit
    assert BranchName(LAB, "dev") == parse_ref("lab@dev").branch
