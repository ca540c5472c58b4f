"""The pages and probes of a gateway under ``/-/``: for people, probes and scrapers, not for S3."""

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from worker.gateway.messages import BucketStatistics

if TYPE_CHECKING:
    from worker.gateway.application import Service

Page = Callable[["Service"], tuple[int, str, str]]
"""Given the service: status, content type and text."""

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"

FIELDS = tuple(field.name for field in attrs.fields(BucketStatistics))


def health(_service: "Service") -> tuple[int, str, str]:
    """Say that the process answers."""
    return 200, TEXT, "alive\n"


def ready(service: "Service") -> tuple[int, str, str]:
    """Say whether the buckets can be used: 200 if so, 503 once the output is closed."""
    if service.is_open():
        return 200, TEXT, "ready\n"
    return 503, TEXT, "the output is closed\n"


def metrics(service: "Service") -> tuple[int, str, str]:
    """Say what went through, in the format of Prometheus; all processes of the gateway count."""
    lines = []
    statistics = service.counters.total().buckets
    for field in FIELDS:
        name = f"worker_gateway_{field}_total"
        lines.append(f"# TYPE {name} counter")
        for bucket, counts in statistics.items():
            lines.append(f'{name}{{bucket="{bucket}"}} {getattr(counts, field)}')
    return 200, METRICS, "\n".join(lines) + "\n"


def status(service: "Service") -> tuple[int, str, str]:
    """Show a person the job, its buckets, and what went through them."""
    rows = "".join(
        f"<tr><td>s3://{html.escape(bucket)}</td>"
        f"<td>{html.escape(service.described.get(bucket, ''))}</td>"
        + "".join(f"<td>{getattr(counts, field):,}</td>" for field in FIELDS)
        + "</tr>"
        for bucket, counts in service.counters.total().buckets.items()
    )
    names = "".join(f"<th>{field.replace('_', ' ')}</th>" for field in FIELDS)
    return (
        200,
        HTML,
        f"<!doctype html><title>job {html.escape(service.job)}</title>"
        "<style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}"
        "td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}</style>"
        f"<h1>job {html.escape(service.job)}</h1>"
        f"<table><tr><th>bucket</th><th>serves</th>{names}</tr>{rows}</table>\n",
    )


PROBES: Mapping[str, Page] = {"/-/healthz": health, "/-/readyz": ready}
PAGES: Mapping[str, Page] = {**PROBES, "/-/": status, "/-/metrics": metrics}


def pages_of(service: "Service") -> Mapping[str, Page]:
    """Return the pages by path: where requests must be signed, only those that tell nothing."""
    return PAGES if service.open_to_all else PROBES
