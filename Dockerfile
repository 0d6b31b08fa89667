# Images of the service: `app`, the HTTP front end without torch; `worker-cpu`; `worker-gpu`.
#   docker build --target app --tag cdvae-app .
#   docker build --target worker-cpu --build-arg TORCH_INDEX=… --tag cdvae-worker .
#   docker build --target worker-gpu --tag cdvae-worker:gpu .
# Torch from the usual index brings CUDA with it, several GB: TORCH_INDEX is one of CPU-only builds.
# EXTRAS="s3 telemetry optimade" adds what results or models at an s3:// URL, traces and the
# OPTIMADE endpoint need.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# What pip has to install for each image, and an empty environment to install it into.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml ./
COPY packages/client ./packages/client
RUN python -m venv --without-pip /opt/venv
RUN set -e; for extra in app worker; do \
        python -c 'import sys, tomllib; \
            client, service = [tomllib.load(open(path, "rb"))["project"] \
                for path in ("packages/client/pyproject.toml", "pyproject.toml")]; \
            extras = [service["optional-dependencies"][name] for name in sys.argv[1:]]; \
            groups = [client["dependencies"], service["dependencies"], *extras]; \
            print(*[line for group in groups for line in group \
                if not line.startswith((client["name"], service["name"]))], sep="\n")' \
            jobstore "$extra" $EXTRAS > "$extra.txt"; \
    done

# Dependencies and project are installed in separate layers: a change of the code does not download
# torch again.
FROM build AS app-dependencies
RUN pip --python /opt/venv/bin/python install --requirement app.txt

# The two kinds of torch differ only in the index that they come from, so check which one came.
FROM build AS worker-cpu-dependencies
ARG TORCH_INDEX=""
RUN pip --python /opt/venv/bin/python install \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement worker.txt \
 && /opt/venv/bin/python -c 'import sys, torch; \
        sys.exit("this torch is built for CUDA: set TORCH_INDEX" if torch.version.cuda else 0)'

FROM build AS worker-gpu-dependencies
RUN pip --python /opt/venv/bin/python install --requirement worker.txt \
 && /opt/venv/bin/python -c 'import sys, torch; \
        sys.exit(0 if torch.version.cuda else "this torch is built without CUDA")'

FROM build AS project
COPY README.md LICENSE ./
COPY app ./app
COPY baselines ./baselines
COPY cdvae_schema ./cdvae_schema
COPY cdvae ./cdvae
COPY cdvae_client ./cdvae_client
COPY cdvae_service ./cdvae_service
COPY worker ./worker
RUN pip --python /opt/venv/bin/python install --no-deps ./packages/client .

# Readable by the user of the images, whatever the modes of the files in this checkout.
FROM build AS models
COPY model_store /model_store
RUN chmod --recursive a+rX /model_store

# The front end reads cards and statistics of the models and the name of the default one.
FROM models AS cards
RUN find /model_store -type f ! -name card.json ! -name reference.json ! -name default.txt -delete

FROM ${PYTHON_IMAGE} AS runtime
ARG PYTHON_IMAGE
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="cdvae-service" \
      org.opencontainers.image.description="Crystal Diffusion Variational Autoencoder over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
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
COPY --from=models /model_store ./model_store
COPY --chmod=a+rX phase_references ./phase_references
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['CDVAE_WORKER_METRICS_PORT'] + '/metrics', timeout=4)"]
CMD ["cdvae", "worker"]

FROM worker AS worker-cpu
ENV CDVAE_DEVICE=cpu
COPY --from=worker-cpu-dependencies /opt/venv /opt/venv
COPY --from=project /opt/venv /opt/venv

# The driver comes from the host (NVIDIA container toolkit), which these two ask for.
FROM worker AS worker-gpu
ENV CDVAE_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=worker-gpu-dependencies /opt/venv /opt/venv
COPY --from=project /opt/venv /opt/venv
