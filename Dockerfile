# syntax=docker/dockerfile:1
# The worker as a pod's entrypoint: docker build -t worker . && docker run worker run --job - < job.json
# Any image with Python 3.11 or later can take the place of the base; an image for user code is
# usually made FROM this one, with the tools of that code added.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
# EXTRAS=[examples] adds the aws CLI, which the example job runs.
ARG EXTRAS=
RUN python3 -m venv /opt/worker && /opt/worker/bin/pip install --no-cache-dir ".${EXTRAS}"

FROM ${BASE}
COPY --from=build /opt/worker /opt/worker
COPY config /opt/worker/config
# /pfs holds file inputs, as in Pachyderm; the store is a volume, or an object store by --store.
RUN useradd --create-home --uid 1000 worker \
    && install -d -o worker -g worker /pfs /var/lib/worker
ENV PATH=/opt/worker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WORKER_STORE=/var/lib/worker
USER 1000:1000
WORKDIR /home/worker
VOLUME /var/lib/worker
# The agent is PID 1: it reaps orphans, and takes SIGTERM to stop before it has published.
STOPSIGNAL SIGTERM
ENTRYPOINT ["worker"]
CMD ["--help"]
