"""Form uploads by the command of a job, with curl."""

import shutil

import pytest
from builders import a_commit, a_job

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
POST = "curl -sS -o /dev/null -w '%{http_code} '"


@pytest.fixture
def post(site):
    """Run a job whose command is the given lines, with arguments of ``worker run``."""
    a_commit(site.open(), {"a.txt": b"1"})

    def run(*lines, arguments=()):
        return site.worker("run", "--job", site.job(a_job(*lines)), *arguments)

    return run


def test_files_of_a_form_are_the_output_of_a_job(site, post):
    """A small one from standard input, and one for which curl waits for 100 Continue."""
    done = post(
        "echo small | "
        f"{POST} -F 'key=in/${{filename}}' -F 'file=@-;filename=small.txt' $S3_ENDPOINT/out",
        "head -c 3000000 /dev/zero > large.bin",
        f"{POST} -F key=large -F x-amz-meta-a=b -F file=@large.bin $S3_ENDPOINT/out/",
        f"{POST} -F key=no -F file=@large.bin $S3_ENDPOINT/labresults",
    )

    assert 0 == done.status, done.err
    assert "204 204 403" in done.err + done.out
    assert "small\n" == site.worker("cat", "copy:in/small.txt").out
    assert 3_000_000 == len(site.worker("cat", "copy:large").out)
    assert 0 != site.worker("cat", "copy:no").status


def test_a_form_without_a_signature_is_denied_where_requests_are_signed(site, post):
    done = post(
        f"{POST} -F key=k -F file=@- $S3_ENDPOINT/out < /dev/null", arguments=("--auth", "sigv4")
    )

    assert 0 == done.status, done.err
    assert "403" in done.err + done.out
    assert 0 != site.worker("cat", "copy:k").status
