"""The environment of the user's command: what it needs, and nothing that is the agent's own."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

import attrs

from worker.gateway.messages import Endpoint, KeyPair
from worker.job.truststore import KEY_STORE
from worker.supervisor.users import Identity

# Variables of the agent's environment that a command gets, as names or patterns. These are
# allow-lists, because the agent's environment contains its credentials for the store as well.
PASSED_TO_CONTAINERS = (
    "TZ",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
"""No path of this machine, and none of the variables that images set, such as PATH and HOME."""
PASSED = (
    *PASSED_TO_CONTAINERS,
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TMPDIR",
    "EDITOR",
    "PAGER",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "CUDA_*",
    "NVIDIA_*",
    "ROCR_*",
    "HIP_*",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "PYTHON*",
    "VIRTUAL_ENV",
    "CONDA_*",
    "PYENV_*",
    "JAVA_HOME",
    "HADOOP_HOME",
    "SPARK_HOME",
    "NODE_PATH",
    "GOPATH",
    "GOROOT",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "R_HOME",
    "R_LIBS*",
    "OMP_*",
    "MKL_*",
    "OPENBLAS_*",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REGION = "us-east-1"
ANYONE = KeyPair("default", "default")
"""The credentials of a gateway that asks for none; most clients will not start without any."""


@attrs.frozen
class InputVariables:
    """What the command is told of one input."""

    name: str
    path: Path
    commit: str


@attrs.frozen
class Access:
    """How the command reaches the buckets."""

    endpoint: Endpoint
    keys: KeyPair = ANYONE
    authority: Path | None = None
    """A certificate authority that clients must trust for this job."""


def passed(
    base: Mapping[str, str], more: Iterable[str] = (), *, allowed: Iterable[str] = PASSED
) -> dict[str, str]:
    """Return the part of *base* that the command may see; *more* are further names or patterns."""
    patterns = (*allowed, *more)
    found = {
        name: value
        for name, value in base.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    return {"PATH": DEFAULT_PATH, **found} if "PATH" in patterns else found


def of_job(*, job: str, pipeline: str, project: str) -> dict[str, str]:
    """Return the ids that Pachyderm's user code knows."""
    return {
        "PACH_JOB_ID": job,
        "PACH_OUTPUT_COMMIT_ID": job,
        "PACH_PIPELINE_NAME": pipeline,
        "PPS_PIPELINE_NAME": pipeline,
        "PPS_PROJECT_NAME": project,
    }


def of_inputs(inputs: Iterable[InputVariables]) -> Iterator[tuple[str, str]]:
    """Yield where each input lies, and its commit."""
    for each in inputs:
        yield each.name, str(each.path)
        yield f"{each.name}_COMMIT", each.commit


def of_access(access: Access) -> dict[str, str]:
    """Return where the buckets are, and the credentials for them."""
    return {
        "S3_ENDPOINT": access.endpoint.url,
        "AWS_ACCESS_KEY_ID": access.keys.access,
        "AWS_SECRET_ACCESS_KEY": access.keys.secret,
    }


def hints(access: Access) -> dict[str, str]:
    """Return what today's S3 clients read, so that they find the gateway with no flag.

    Each variable is here because a client fails without it: ``tests/clients`` shows which.
    """
    url, keys = access.endpoint.url, access.keys
    scheme, _, address = url.partition("://")
    secure = scheme == "https"
    found = {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # object_store, so also polars, delta-rs and obstore
        "AWS_ENDPOINT": url,
        "AWS_ALLOW_HTTP": "false" if secure else "true",
        # s5cmd
        "S3_ENDPOINT_URL": url,
        # fsspec, so also pandas and dask
        "FSSPEC_S3_ENDPOINT_URL": url,
        # GDAL
        "AWS_S3_ENDPOINT": address,
        "AWS_HTTPS": "YES" if secure else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        # rclone, as the remote "job:"
        "RCLONE_CONFIG_JOB_TYPE": "s3",
        "RCLONE_CONFIG_JOB_PROVIDER": "Other",
        "RCLONE_CONFIG_JOB_ENDPOINT": url,
        "RCLONE_CONFIG_JOB_ACCESS_KEY_ID": keys.access,
        "RCLONE_CONFIG_JOB_SECRET_ACCESS_KEY": keys.secret,
        # mc, as the alias "job"
        "MC_HOST_job": f"{scheme}://{quote(keys.access, safe='')}:"
        f"{quote(keys.secret, safe='')}@{address}",
    }
    if access.authority is not None:
        trusted = str(access.authority)
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            found[name] = trusted
        found["NODE_EXTRA_CA_CERTS"] = trusted
        found["S3_CA_FILE"] = trusted  # TensorFlow, which finds the rest in S3_ENDPOINT
        store = access.authority.with_suffix(KEY_STORE)
        found["JAVA_TOOL_OPTIONS"] = f"-Djavax.net.ssl.trustStore={store}"
    return found


def around_proxies(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """Return what keeps clients from asking a proxy for the gateway, if there is a proxy."""
    if not any(name.lower().endswith("_proxy") for name in environment):
        return {}
    exempt = [environment.get("NO_PROXY") or environment.get("no_proxy") or "", host]
    value = ",".join(filter(None, exempt))
    return {"NO_PROXY": value, "no_proxy": value}


def of_user(identity: Identity | None) -> dict[str, str]:
    """Return what a login would set for another user than the agent's own."""
    if identity is None:
        return {}
    names = {"USER": identity.name, "LOGNAME": identity.name, "HOME": identity.home}
    return {name: value for name, value in names.items() if value}


@attrs.frozen
class Given:
    """Everything of which the environment of one datum's command is made."""

    base: Mapping[str, str]
    """The agent's own environment."""
    job: str
    pipeline: str
    project: str
    inputs: tuple[InputVariables, ...] = ()
    access: Access | None = None
    """None when the job has no bucket."""
    client_hints: bool = True
    more: tuple[str, ...] = ()
    """Further variables of the base that are let through, by name or pattern."""
    allowed: tuple[str, ...] = PASSED
    """Those that are always let through; what an image brings itself must not be among them."""
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    spec: Mapping[str, str] = attrs.field(factory=dict)
    """``transform.env``, which wins over all else."""
    identity: Identity | None = None
    local: Mapping[str, str] = attrs.field(factory=dict)
    """Paths of this run: where to report, and the like."""


def compose(given: Given, *, datum: str) -> dict[str, str]:
    """Return the whole environment of the command for one datum."""
    found = passed(given.base, given.more, allowed=given.allowed) | of_user(given.identity)
    found |= of_job(job=given.job, pipeline=given.pipeline, project=given.project)
    found |= {"PACH_DATUM_ID": datum, **given.local}
    if given.access is not None:
        if given.client_hints:
            found |= hints(given.access)
            found |= around_proxies(found, given.access.endpoint.host)
        found |= of_access(given.access)
    found |= dict(of_inputs(given.inputs))
    return {**found, **given.secrets, **given.spec}
