"""The pages and probes of a gateway under ``/-/``, a Quart-Trio application."""

import html

import attrs
from quart import Response
from quart_trio import QuartTrio

from worker.gateway.application import S3Application
from worker.gateway.messages import BucketStatistics

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
FIELDS = tuple(field.name for field in attrs.fields(BucketStatistics))
STYLE = (
    "body{font:14px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}"
    "td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}"
)


def create_admin(application: S3Application) -> QuartTrio:
    """Return the application; with authentication, it has the probes only, which reveal nothing."""
    admin = QuartTrio("worker.gateway", static_folder=None)
    # A redirect to the merged path would contain the host name that the client sent.
    admin.url_map.merge_slashes = False

    @admin.get("/-/healthz")
    async def health() -> Response:
        """Report that the process answers."""
        return Response("alive\n", content_type=TEXT)

    @admin.get("/-/readyz")
    async def ready() -> Response:
        """Report whether the buckets accept requests: 200, or 503 once the output is closed."""
        if application.is_ready():
            return Response("ready\n", content_type=TEXT)
        return Response("the output is closed\n", 503, content_type=TEXT)

    if application.authenticated:
        return admin

    @admin.get("/-/metrics")
    async def metrics() -> Response:
        """Return the traffic of all processes in the format of Prometheus."""
        lines = []
        statistics = application.counters.total().buckets
        for field in FIELDS:
            name = f"worker_gateway_{field}_total"
            lines.append(f"# TYPE {name} counter")
            for bucket, counts in statistics.items():
                lines.append(f'{name}{{bucket="{bucket}"}} {getattr(counts, field)}')
        return Response("\n".join(lines) + "\n", content_type=METRICS)

    @admin.get("/-/")
    async def status() -> Response:
        """Return a page with the job, its buckets and their traffic."""
        job = html.escape(application.job)
        rows = "".join(
            f"<tr><td>s3://{html.escape(bucket)}</td>"
            f"<td>{html.escape(application.descriptions.get(bucket, ''))}</td>"
            + "".join(f"<td>{getattr(counts, field):,}</td>" for field in FIELDS)
            + "</tr>"
            for bucket, counts in application.counters.total().buckets.items()
        )
        names = "".join(f"<th>{field.replace('_', ' ')}</th>" for field in FIELDS)
        page = (
            f"<!doctype html><title>job {job}</title><style>{STYLE}</style><h1>job {job}</h1>"
            f"<table><tr><th>bucket</th><th>serves</th>{names}</tr>{rows}</table>\n"
        )
        return Response(page, content_type=HTML)

    return admin
