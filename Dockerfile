# ingestd as an image: docker build --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) -t ingestd .
#
# The base is the Python that the tests run on. A release pins what the tag names at that time:
#   docker buildx imagetools inspect --format '{{.Manifest.Digest}}' python:3.11-slim-bookworm
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/ingestd
COPY requirements.image.lock ./
RUN python -m pip --python /opt/ingestd install --require-hashes --only-binary :all: -r requirements.image.lock
COPY pyproject.toml README.md ./
COPY ingestd ./ingestd
# Half of the size is pyarrow; its servers for other protocols, headers and tests are of no use here.
RUN python -m pip --python /opt/ingestd install --no-deps --no-build-isolation . \
 && python -m pip --python /opt/ingestd uninstall --yes setuptools wheel \
 && find /opt/ingestd/lib/python3*/site-packages/pyarrow -mindepth 1 -maxdepth 1 \
      '(' -name include -o -name src -o -name tests -o -name '*flight*' ')' -exec rm -r {} + \
 && /opt/ingestd/bin/python -c 'import duckdb, pyarrow.compute, pyarrow.dataset, pyarrow.parquet, ingestd.daemon'

FROM ${BASE}
# Python as the first process reaps no orphans; tini does, and passes signals on. Its version is not pinned because
# Debian keeps only the newest one of a package.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 ingestd \
 && useradd --no-log-init --uid 65532 --gid 65532 --home-dir /var/lib/ingestd --shell /usr/sbin/nologin ingestd \
 && install --directory --owner 65532 --group 65532 --mode 0750 /var/lib/ingestd /inbox
COPY --from=build /opt/ingestd /opt/ingestd
COPY config /etc/ingestd

# The configuration in the image reads /inbox and writes to /var/lib/ingestd; mount your own over /etc/ingestd.
# The root file system may be read-only.
ENV PATH=/opt/ingestd/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    INGESTD_CONFIG=/etc/ingestd/ingestd.yml \
    INGESTD_LISTEN=0.0.0.0:9464 \
    INGESTD_INBOX=/inbox \
    STATE_DIRECTORY=/var/lib/ingestd
USER 65532:65532
WORKDIR /var/lib/ingestd
VOLUME ["/var/lib/ingestd"]
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m --retries=3 CMD ["ingestd", "healthcheck"]
ENTRYPOINT ["tini", "--", "ingestd"]
CMD ["run"]

ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=
ARG BASE
LABEL org.opencontainers.image.title="ingestd" \
      org.opencontainers.image.description="Security log ingestion on your own machines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"
