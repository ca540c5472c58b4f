"""The environment of commands: variables of the worker, of the job, and of clients of S3."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

import attrs

from worker.job.access import Access
from worker.s3.bucket_listing import REGION
from worker.spec.variables import is_known, is_variable
from worker.supervisor.users import Identity

# Variables of the agent's environment that a command gets, as names or patterns. These are
# allow-lists, because the agent's environment also contains its credentials for the store.
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
JAVA_TRUST_STORE = ".p12"
"""The suffix of the trust store for Java, beside the one in PEM."""


@attrs.frozen
class InputVariables:
    """The values of the variables of one input."""

    name: str
    path: Path
    commit: str


def passed_variables(
    base: Mapping[str, str], more: Iterable[str] = (), *, allowed: Iterable[str] = PASSED
) -> dict[str, str]:
    """Return the variables of *base* that the command gets; *more* are names or patterns."""
    patterns = (*allowed, *more)
    found = {
        name: value
        for name, value in base.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    return {"PATH": DEFAULT_PATH, **found} if "PATH" in patterns else found


LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def _virtual_host(host: str) -> str:
    """Return *host* for a client that puts the bucket before it, as in ``out.localhost``.

    An IP address has no names below it. Those below ``localhost`` are loopback addresses (RFC 6761,
    6.3), which curl knows without a resolver.
    """
    if host in LOCAL_HOSTS:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def client_hints(access: Access) -> dict[str, str]:
    """Return the variables by which S3 clients find the gateway without flags.

    Each is listed because a client fails without it: ``tests/clients`` shows which.
    """
    url, keys = access.endpoint.url, access.keys
    scheme, _, address = url.partition("://")
    port = address.rpartition(":")[2]  # In a plan, a placeholder.
    secure = scheme == "https"
    found = {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # object_store, and so polars, delta-rs and obstore
        "AWS_ENDPOINT": url,
        "AWS_ALLOW_HTTP": "false" if secure else "true",
        # s5cmd
        "S3_ENDPOINT_URL": url,
        # fsspec, and so pandas and dask
        "FSSPEC_S3_ENDPOINT_URL": url,
        # DuckDB, which has no variable for the path style
        "DUCKDB_S3_ENDPOINT": f"{_virtual_host(access.endpoint.host)}:{port}",
        "DUCKDB_S3_USE_SSL": "true" if secure else "false",
        # GDAL
        "AWS_S3_ENDPOINT": address,
        "AWS_HTTPS": "YES" if secure else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        # rclone, as the remote "job:". Of an unknown provider it lists keys without
        # encoding-type=url, and XML 1.0 has no control characters, U+FFFE and U+FFFF.
        "RCLONE_CONFIG_JOB_LIST_URL_ENCODE": "true",
        "RCLONE_CONFIG_JOB_TYPE": "s3",
        "RCLONE_CONFIG_JOB_PROVIDER": "Other",
        "RCLONE_CONFIG_JOB_ENDPOINT": url,
        "RCLONE_CONFIG_JOB_ACCESS_KEY_ID": keys.access,
        "RCLONE_CONFIG_JOB_SECRET_ACCESS_KEY": keys.secret,
        # mc, as the alias "job"
        "MC_HOST_job": f"{scheme}://{quote(keys.access, safe='')}:"
        f"{quote(keys.secret, safe='')}@{address}",
    }
    if access.trust_store is not None:
        pem = str(access.trust_store)
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            found[name] = pem
        found["NODE_EXTRA_CA_CERTS"] = pem
        found["S3_CA_FILE"] = pem  # TensorFlow, which takes the rest from S3_ENDPOINT
        java = access.trust_store.with_suffix(JAVA_TRUST_STORE)
        found["JAVA_TOOL_OPTIONS"] = f"-Djavax.net.ssl.trustStore={java}"
    return found


PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def proxy_exemption(variables: Mapping[str, str], host: str) -> dict[str, str]:
    """Return ``NO_PROXY`` and ``no_proxy`` so that clients do not send requests for *host* there.

    Both get the entries that either has, since a client reads one of the two only. Nothing is
    returned if *variables* name no proxy.
    """
    if not any(name.upper() in PROXY_VARIABLES and value for name, value in variables.items()):
        return {}
    entries = [
        entry
        for name in ("NO_PROXY", "no_proxy")
        for entry in re.split(r"[,\s]+", variables.get(name, ""))
        if entry
    ]
    # "*" has its meaning only where it is the whole value.
    own = [host, f"[{host}]"] if ":" in host else [host]
    if host in LOCAL_HOSTS:
        own.append("localhost")
    hosts = "*" if "*" in entries else ",".join(dict.fromkeys((*entries, *own)))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


@attrs.frozen
class EnvironmentTemplate:
    """The environment of a job's commands, but for the datum."""

    base: Mapping[str, str]
    """The agent's own environment."""
    job: str
    pipeline: str
    project: str
    access: Access | None = None
    """None for a job without buckets."""
    client_hints: bool = True
    more: tuple[str, ...] = ()
    """Further variables of the base that are passed, by name or pattern."""
    allowed: tuple[str, ...] = PASSED
    """Variables of the base that are always passed; none that an image defines itself."""
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    spec: Mapping[str, str] = attrs.field(factory=dict)
    """``transform.env``, which overrides all others."""
    identity: Identity | None = None
    local: Mapping[str, str] = attrs.field(factory=dict)
    """Paths of this run, such as that of the report pipe."""

    def render(self, *, datum: str = "", inputs: Iterable[InputVariables] = ()) -> dict[str, str]:
        """Return the environment of the command for the datum with the id *datum*."""
        found = passed_variables(self.base, self.more, allowed=self.allowed)
        if self.identity is not None:
            names = ("USER", self.identity.name), ("LOGNAME", self.identity.name)
            login = dict((*names, ("HOME", self.identity.home)))
            found |= {name: value for name, value in login.items() if value}
        found |= {
            "PACH_JOB_ID": self.job,
            "PACH_OUTPUT_COMMIT_ID": self.job,
            "PACH_PIPELINE_NAME": self.pipeline,
            "PPS_PIPELINE_NAME": self.pipeline,
            "PPS_PROJECT_NAME": self.project,
            "PACH_DATUM_ID": datum,
            **self.local,
        }
        if self.access is not None:
            if self.client_hints:
                found |= client_hints(self.access)
            found |= proxy_exemption(
                {**found, **self.secrets, **self.spec}, self.access.endpoint.host
            )
            found |= {
                "S3_ENDPOINT": self.access.endpoint.url,
                "AWS_ACCESS_KEY_ID": self.access.keys.access,
                "AWS_SECRET_ACCESS_KEY": self.access.keys.secret,
            }
        for each in inputs:
            if is_variable(each.name):
                found[f"{each.name}_COMMIT"] = each.commit
                if not is_known(each.name):
                    found[each.name] = str(each.path)
        return {**found, **self.secrets, **self.spec}
