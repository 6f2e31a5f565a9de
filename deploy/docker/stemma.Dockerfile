# Stemma itself: the process that runs the flows, and the gateway. Build from the repository's root, for CPUs or GPUs:
#   docker build -f deploy/docker/stemma.Dockerfile --build-arg DEVICE=cpu  -t stemma/stemma:0.1.0-cpu .
#   docker build -f deploy/docker/stemma.Dockerfile --build-arg DEVICE=cuda -t stemma/stemma:0.1.0-cuda .
ARG DEVICE=cpu

FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# git: snapshots and worktrees. PostgreSQL's client: back-ups; it must not be older than the server.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git openssh-client postgresql-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin stemma \
 && install -d -o stemma -g stemma /data /backups

# torch in a layer of its own, which changes least: without CUDA from PyTorch's index, with CUDA from PyPI. The driver
# comes from the host (NVIDIA's container toolkit).
FROM base AS torch-cpu
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
FROM base AS torch-cuda
RUN pip install torch==2.13.0
# vLLM needs a torch of its own, so it lives in an environment of its own; the gateway starts it as a command.
ARG VLLM_VERSION=0.33.0
RUN python -m venv /opt/vllm \
 && /opt/vllm/bin/pip install "vllm==${VLLM_VERSION}" \
 && ln -s /opt/vllm/bin/vllm /usr/local/bin/vllm

FROM torch-${DEVICE} AS stemma
WORKDIR /opt/stemma
# The dependencies change seldom, the code often: two layers.
COPY pyproject.toml README.md ./
COPY deploy/constraints.txt deploy/constraints.txt
RUN mkdir core components registry flows cli \
 && touch core/__init__.py components/__init__.py registry/__init__.py deploy/__init__.py flows/__init__.py cli/__init__.py \
 && pip install -c deploy/constraints.txt ".[s3,kubernetes]" \
 && pip uninstall -y stemma-llm
COPY . .
RUN pip install --no-deps .

ENV STEMMA_WORKSPACE=/data/workspace \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true \
    DVC_NO_ANALYTICS=1 HF_HUB_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 \
  CMD ["python", "-P", "-m", "deploy.docker.health", "gateway"]
# Makes the workspace ready, then becomes the command.
ENTRYPOINT ["python", "-P", "-m", "deploy.docker.workspace"]
CMD ["python", "-P", "-m", "flows.deployments"]
