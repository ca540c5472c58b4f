"""A store in an object store that several workers share."""

import json

import boto3
import pytest
from builders import a_job, an_input
from moto.server import ThreadedMotoServer
from scenarios.sites import Site

COPY = "aws s3 cp s3://labresults/ s3://out/ --recursive --only-show-errors"
COUNT = "aws s3 ls s3://copy/ --recursive | wc -l | aws s3 cp - s3://out/count"


@pytest.fixture(scope="module")
def object_store():
    """The URL of an S3 server with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="agent",
        aws_secret_access_key="agentsecret",
    ).create_bucket(Bucket="shared")
    yield url
    server.stop()


@pytest.fixture
def machine(object_store, tmp_path):
    """Return a function that creates a site with a worker on the shared store."""

    def make(name):
        root = tmp_path / name
        (root / "scratch").mkdir(parents=True)
        options = f"endpoint={object_store},allow_http=true,region=us-east-1"
        return Site(
            root,
            "s3://shared/prefix",
            {
                "WORKER_STORE_OPTIONS": options,
                "AWS_ACCESS_KEY_ID": "agent",
                "AWS_SECRET_ACCESS_KEY": "agentsecret",
            },
        )

    return make


@pytest.fixture
def folder(tmp_path):
    """A folder with small files and one that is uploaded in parts."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for number in range(20):
        (folder / "below" / f"{number}.txt").write_text(f"{number}\n")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 36_000)
    return folder


def test_a_store_on_s3_has_the_same_trees_as_a_directory(site, machine, folder):
    """Another worker continues from its commits."""
    first, second = machine("first"), machine("second")
    document = a_job(COPY)

    flags = ("--input", f"labresults={folder}", "--json")
    near = site.worker("run", "--job", site.job(document), *flags)
    far = first.worker("run", "--job", first.job(document), *flags)
    assert (0, 0) == (near.status, far.status), far.err
    assert json.loads(near.out)["digest"] == json.loads(far.out)["digest"]
    assert [] == first.left_over()

    counting = a_job(COUNT, inputs=(an_input("copy"),), pipeline={"name": "count"})
    found = second.worker("run", "--job", second.job(counting))
    assert 0 == found.status, found.err
    assert "21\n" == second.worker("cat", "count:count").out
    assert "no defects" in second.worker("verify").out


def test_the_command_does_not_get_the_credentials_of_the_store(machine, folder):
    first = machine("first")
    job = first.job(a_job("env | aws s3 cp - s3://out/env", pipeline={"name": "env"}))

    done = first.worker("run", "--job", job, "--input", f"labresults={folder}")

    assert 0 == done.status, done.err
    assert "agentsecret" not in first.worker("cat", "env:env").out
