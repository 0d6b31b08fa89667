# Images of the service: `app`, the HTTP front end without torch, and `worker`.
#   docker build --target app --tag cdvae-app:0.1.0 .
#   docker build --target worker --tag cdvae-worker:0.1.0 .
# Torch from PyPI brings CUDA with it. An index of CPU-only builds, given as
# `--build-arg PIP_EXTRA_INDEX_URL=…`, makes the worker image several GB smaller.
ARG PYTHON_IMAGE=python:3.11-slim

# What pip has to install for each image, and an empty environment to install it into.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml ./
RUN python -m venv --without-pip /opt/venv
RUN set -e; for extra in app worker; do \
        python -c 'import sys, tomllib; \
            project = tomllib.load(sys.stdin.buffer)["project"]; \
            print(*project["dependencies"], sep="\n"); \
            print(*project["optional-dependencies"][sys.argv[1]], sep="\n")' \
            "$extra" < pyproject.toml > "$extra.txt"; \
    done

# Dependencies and project are installed apart, so that a change of the code neither downloads
# torch again nor changes the layer that holds it.
FROM build AS app-dependencies
ARG PIP_INDEX_URL
RUN pip --python /opt/venv/bin/python install --requirement app.txt

FROM build AS worker-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN pip --python /opt/venv/bin/python install --requirement worker.txt

FROM build AS project
ARG PIP_INDEX_URL
COPY README.md LICENSE ./
COPY app ./app
COPY backplane ./backplane
COPY cdvae ./cdvae
COPY cli ./cli
COPY schema ./schema
COPY worker ./worker
RUN pip --python /opt/venv/bin/python install --no-deps .

# The front end reads the cards of the models and the name of the default one.
FROM build AS cards
COPY model_store /model_store
RUN find /model_store -type f ! -name card.json ! -name default.txt -delete

FROM ${PYTHON_IMAGE} AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cdvae-service" \
      org.opencontainers.image.description="Crystal Diffusion Variational Autoencoder over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
# Distributions drop old versions of a package, so a pinned tini would soon fail to build.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 cdvae \
 && useradd --uid 10001 --gid cdvae --no-create-home --home-dir /tmp cdvae \
 && install --directory --owner cdvae --group cdvae /var/lib/cdvae
# The only places written to are CDVAE_HOME and /tmp: the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CDVAE_HOME=/var/lib/cdvae \
    CDVAE_MODEL_STORE=/opt/cdvae/model_store
WORKDIR /opt/cdvae
USER 10001:10001
ENTRYPOINT ["tini", "--"]

FROM runtime AS app
ENV CDVAE_HOST=0.0.0.0 \
    CDVAE_PORT=8000
COPY --from=app-dependencies /opt/venv /opt/venv
COPY --from=cards /model_store ./model_store
COPY --from=project /opt/venv /opt/venv
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['CDVAE_PORT'] + '/healthz', timeout=4)"]
CMD ["cdvae", "api"]

FROM runtime AS worker
ENV CDVAE_WORKER_METRICS_HOST=0.0.0.0 \
    CDVAE_WORKER_METRICS_PORT=9464
COPY --from=worker-dependencies /opt/venv /opt/venv
COPY model_store ./model_store
COPY --from=project /opt/venv /opt/venv
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['CDVAE_WORKER_METRICS_PORT'] + '/metrics', timeout=4)"]
CMD ["cdvae", "worker"]
