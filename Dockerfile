# syntax=docker/dockerfile:1
# The worker as the entrypoint of a pod:
#   docker build -t worker . && docker run -i worker run --job - < job.json
# BASE can be any image with Python 3.11 or later. An image for user code is usually built FROM this
# one and adds the tools of that code.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
# EXTRAS=[examples] adds the AWS CLI for the example job.
ARG EXTRAS=
RUN python3 -m venv /opt/worker && /opt/worker/bin/pip install --no-cache-dir ".${EXTRAS}"

FROM ${BASE}
COPY --from=build /opt/worker /opt/worker
COPY config /opt/worker/config
# /pfs has the file inputs, as in Pachyderm. The store is a volume, or an object store with --store.
RUN useradd --create-home --uid 1000 worker \
    && install -d -o worker -g worker /pfs /var/lib/worker
ENV PATH=/opt/worker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WORKER_STORE=/var/lib/worker
USER 1000:1000
WORKDIR /home/worker
VOLUME /var/lib/worker
# The agent is PID 1: it reaps orphans, and stops on SIGTERM unless the commit has started.
STOPSIGNAL SIGTERM
ENTRYPOINT ["worker"]
CMD ["--help"]
