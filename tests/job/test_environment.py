from pathlib import Path

import attrs
import pytest

from worker.gateway.messages import Endpoint, KeyPair
from worker.job.access import Access
from worker.job.commands import EnvironmentTemplate, InputVariables, client_hints, passed_variables
from worker.supervisor.users import Identity

PLAIN = Access(Endpoint("127.0.0.1", 4242, "http://127.0.0.1:4242"))
GIVEN = EnvironmentTemplate(
    base={"PATH": "/bin", "HOME": "/root", "AWS_SECRET_ACCESS_KEY": "agents", "LC_ALL": "C.UTF-8"},
    job="a" * 32,
    pipeline="copy",
    project="lab",
)
INPUTS = (InputVariables("plates", Path("/pfs/plates/1.csv"), "b" * 32),)


def test_only_what_is_on_the_list_is_passed():
    """Whatever else the agent has in its environment, the command does not."""
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


def test_pachyderms_variables_are_there():
    """The ids and the paths that user code knows."""
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


def test_the_endpoint_is_there_when_there_is_a_bucket():
    """S3_ENDPOINT and credentials, which most clients want even where none are asked for."""
    found = attrs.evolve(GIVEN, access=PLAIN).render()

    assert ("http://127.0.0.1:4242", "default", "default") == (
        found["S3_ENDPOINT"],
        found["AWS_ACCESS_KEY_ID"],
        found["AWS_SECRET_ACCESS_KEY"],
    )
    assert "http://127.0.0.1:4242" == found["AWS_ENDPOINT_URL_S3"]


def test_hints_can_be_turned_off():
    """With one setting only the endpoint and the credentials are left."""
    found = attrs.evolve(GIVEN, access=PLAIN, client_hints=False).render()

    assert "S3_ENDPOINT" in found
    assert not set(client_hints(PLAIN)) & set(found)


def test_the_specs_environment_wins():
    """transform.env is over everything, hints and secrets included."""
    spec = {"AWS_REGION": "eu-west-1", "PATH": "/opt/bin", "TOKEN": "plain"}
    given = attrs.evolve(GIVEN, access=PLAIN, secrets={"TOKEN": "secret", "OTHER": "x"}, spec=spec)
    found = given.render()

    assert spec == {name: found[name] for name in spec}
    assert "x" == found["OTHER"]


def test_a_jobs_own_keys_are_handed_over():
    """They reach the command in the variables of every client."""
    keys = KeyPair("WKAAAA", "s/e+c")
    found = client_hints(attrs.evolve(PLAIN, keys=keys))

    assert "s/e+c" == found["RCLONE_CONFIG_JOB_SECRET_ACCESS_KEY"]
    assert "http://WKAAAA:s%2Fe%2Bc@127.0.0.1:4242" == found["MC_HOST_job"]


def test_with_tls_clients_are_told_so_and_what_to_trust():
    """https, and the certificate authority of the job."""
    access = Access(
        Endpoint("127.0.0.1", 1, "https://127.0.0.1:1"), trust_store=Path("/scratch/trusted.pem")
    )
    found = client_hints(access)

    assert ("false", "YES") == (found["AWS_ALLOW_HTTP"], found["AWS_HTTPS"])
    assert "/scratch/trusted.pem" == found["AWS_CA_BUNDLE"] == found["NODE_EXTRA_CA_CERTS"]
    assert "-Djavax.net.ssl.trustStore=/scratch/trusted.p12" == found["JAVA_TOOL_OPTIONS"]


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY"])
def test_the_gateway_is_not_asked_through_a_proxy(name):
    """What is exempt from the proxy stays so, and the gateway is too."""
    base = {name: "http://proxy:3128", "NO_PROXY": "localhost"}
    found = attrs.evolve(GIVEN, base=base, access=PLAIN).render()

    assert "localhost,127.0.0.1" == found["NO_PROXY"] == found["no_proxy"]


def test_another_user_has_a_home_of_its_own():
    """HOME and USER are those of the user that the command runs as."""
    identity = Identity(1000, 1000, (1000,), name="ada", home="/home/ada")
    found = attrs.evolve(GIVEN, identity=identity).render()

    assert ("ada", "/home/ada") == (found["USER"], found["HOME"])
