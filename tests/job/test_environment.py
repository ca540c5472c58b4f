"""The environment of the command."""

from pathlib import Path

import attrs
import pytest

from worker.gateway.messages import Endpoint, KeyPair
from worker.job.access import Access
from worker.job.environment import (
    EnvironmentTemplate,
    InputVariables,
    client_hints,
    passed_variables,
)
from worker.supervisor.users import Identity

PLAIN = Access(Endpoint("127.0.0.1", 4242, "http://127.0.0.1:4242"))
GIVEN = EnvironmentTemplate(
    base={"PATH": "/bin", "HOME": "/root", "AWS_SECRET_ACCESS_KEY": "agents", "LC_ALL": "C.UTF-8"},
    job="a" * 32,
    pipeline="copy",
    project="lab",
)
INPUTS = (InputVariables("plates", Path("/pfs/plates/1.csv"), "b" * 32),)


def test_only_allowed_variables_of_the_agent_are_passed():
    base = {
        "PATH": "/bin",
        "LC_CTYPE": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "AWS_ACCESS_KEY_ID": "mine",
        "WORKER_STORE": "s3://b",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "MY_FLAG": "1",
    }

    assert {"PATH": "/bin", "LC_CTYPE": "C", "CUDA_VISIBLE_DEVICES": "0"} == passed_variables(base)
    assert "1" == passed_variables(base, ["MY_*"])["MY_FLAG"]


def test_the_variables_of_pachyderm_are_set():
    found = GIVEN.render(datum="d" * 64, inputs=INPUTS)
    expected = {
        "PACH_JOB_ID": "a" * 32,
        "PACH_OUTPUT_COMMIT_ID": "a" * 32,
        "PACH_DATUM_ID": "d" * 64,
        "PACH_PIPELINE_NAME": "copy",
        "PPS_PIPELINE_NAME": "copy",
        "PPS_PROJECT_NAME": "lab",
        "plates": "/pfs/plates/1.csv",
        "plates_COMMIT": "b" * 32,
    }

    assert expected == {name: found[name] for name in expected}
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert "S3_ENDPOINT" not in found


def test_a_job_with_a_bucket_has_an_endpoint_and_credentials():
    """Most clients require credentials even where none are checked."""
    found = attrs.evolve(GIVEN, access=PLAIN).render()

    assert ("http://127.0.0.1:4242", "default", "default") == (
        found["S3_ENDPOINT"],
        found["AWS_ACCESS_KEY_ID"],
        found["AWS_SECRET_ACCESS_KEY"],
    )
    assert "http://127.0.0.1:4242" == found["AWS_ENDPOINT_URL_S3"]


def test_without_client_hints_only_endpoint_and_credentials_are_set():
    found = attrs.evolve(GIVEN, access=PLAIN, client_hints=False).render()

    assert "S3_ENDPOINT" in found
    assert not set(client_hints(PLAIN)) & set(found)


def test_transform_env_overrides_all_other_variables():
    spec = {"AWS_REGION": "eu-west-1", "PATH": "/opt/bin", "TOKEN": "plain"}
    given = attrs.evolve(GIVEN, access=PLAIN, secrets={"TOKEN": "secret", "OTHER": "x"}, spec=spec)
    found = given.render()

    assert spec == {name: found[name] for name in spec}
    assert "x" == found["OTHER"]


def test_the_keys_of_the_job_are_in_the_variables_of_every_client():
    keys = KeyPair("WKAAAA", "s/e+c")
    found = client_hints(attrs.evolve(PLAIN, keys=keys))

    assert "s/e+c" == found["RCLONE_CONFIG_JOB_SECRET_ACCESS_KEY"]
    assert "http://WKAAAA:s%2Fe%2Bc@127.0.0.1:4242" == found["MC_HOST_job"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "localhost:4242"),
        ("::1", "localhost:4242"),
        ("127.0.0.2", "127.0.0.2:4242"),
        ("10.0.0.7", "10.0.0.7:4242"),
        ("2001:db8::7", "[2001:db8::7]:4242"),
    ],
)
def test_a_client_without_path_style_gets_a_name_below_which_buckets_have_names(host, expected):
    """``out.localhost`` is this machine; an IP address has no names below it."""
    found = client_hints(Access(Endpoint(host, 4242, f"http://{host}:4242")))

    assert expected == found["DUCKDB_S3_ENDPOINT"]


def test_with_tls_the_variables_have_https_and_the_trust_store():
    access = Access(
        Endpoint("127.0.0.1", 1, "https://127.0.0.1:1"), trust_store=Path("/scratch/trusted.pem")
    )
    found = client_hints(access)

    assert ("false", "YES") == (found["AWS_ALLOW_HTTP"], found["AWS_HTTPS"])
    assert "/scratch/trusted.pem" == found["AWS_CA_BUNDLE"] == found["NODE_EXTRA_CA_CERTS"]
    assert "-Djavax.net.ssl.trustStore=/scratch/trusted.p12" == found["JAVA_TOOL_OPTIONS"]


HTTP = {"http_proxy": "http://proxy:3128"}


@pytest.mark.parametrize("hints", [True, False], ids=["with hints", "without hints"])
@pytest.mark.parametrize(
    ("base", "expected"),
    [
        pytest.param(HTTP, "127.0.0.1,localhost", id="no exemption yet"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128"}, "127.0.0.1,localhost", id="upper case"),
        pytest.param(
            {**HTTP, "NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost", id="NO_PROXY"
        ),
        pytest.param(
            {**HTTP, "no_proxy": "b.example"}, "b.example,127.0.0.1,localhost", id="no_proxy"
        ),
        pytest.param(
            {**HTTP, "NO_PROXY": "a.example, .c.example", "no_proxy": "b.example a.example"},
            "a.example,.c.example,b.example,127.0.0.1,localhost",
            id="different values in both spellings",
        ),
        pytest.param({**HTTP, "NO_PROXY": "127.0.0.1"}, "127.0.0.1,localhost", id="exempt already"),
        pytest.param({**HTTP, "no_proxy": "*"}, "*", id="all hosts are exempt"),
    ],
)
def test_the_gateway_is_exempt_from_proxies(base, expected, hints):
    """In addition to the exemptions that exist in either spelling, also without client hints."""
    found = attrs.evolve(GIVEN, base=base, access=PLAIN, client_hints=hints).render()

    assert expected == found["NO_PROXY"] == found["no_proxy"]


def test_a_proxy_of_the_job_does_not_get_requests_for_the_gateway():
    """``transform.env`` may name the proxy."""
    found = attrs.evolve(GIVEN, base={}, access=PLAIN, spec=HTTP).render()

    assert "127.0.0.1,localhost" == found["NO_PROXY"] == found["no_proxy"]


def test_an_address_of_version_6_is_exempt_with_and_without_brackets():
    """Clients compare it in one of the two forms."""
    access = Access(Endpoint("::1", 4242, "http://[::1]:4242"))
    found = attrs.evolve(GIVEN, base=HTTP, access=access).render()

    assert "::1,[::1],localhost" == found["NO_PROXY"]


def test_without_a_proxy_no_exemption_is_set():
    found = attrs.evolve(GIVEN, base={}, access=PLAIN).render()

    assert not {"NO_PROXY", "no_proxy"} & set(found)


def test_home_and_user_are_those_of_the_commands_user():
    identity = Identity(1000, 1000, (1000,), name="ada", home="/home/ada")
    found = attrs.evolve(GIVEN, identity=identity).render()

    assert ("ada", "/home/ada") == (found["USER"], found["HOME"])
