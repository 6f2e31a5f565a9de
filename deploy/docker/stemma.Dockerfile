# Stemma itself: the process that runs the flows, and the gateway. Build from the repository's root, for CPUs or GPUs:
#   docker build -f deploy/docker/stemma.Dockerfile --build-arg DEVICE=cpu  -t ghcr.io/stemma-llm/stemma:0.1.0-cpu .
#   docker build -f deploy/docker/stemma.Dockerfile --build-arg DEVICE=cuda -t ghcr.io/stemma-llm/stemma:0.1.0-cuda .
ARG DEVICE=cpu

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# git: snapshots and worktrees. PostgreSQL's client: back-ups; it must not be older than the server. bubblewrap: the
# sandbox for code that a model writes (evaluate.suites); the container must be allowed user namespaces.
RUN apt-get update \
 && apt-get install -y --no-install-recommends bubblewrap git openssh-client postgresql-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin stemma \
 && install -d -o stemma -g stemma /data /backups /keys

# torch in a layer of its own, which changes least: without CUDA from PyTorch's index, with CUDA from PyPI. The driver
# comes from the host (NVIDIA's container toolkit).
FROM base AS torch-cpu
COPY deploy/lock/torch-cpu.txt /tmp/lock.txt
RUN pip install --no-deps --require-hashes --index-url https://download.pytorch.org/whl/cpu -r /tmp/lock.txt
FROM base AS torch-cuda
COPY deploy/lock/torch-cuda.txt /tmp/lock.txt
RUN pip install --no-deps --require-hashes -r /tmp/lock.txt
# vLLM needs a torch of its own, so it lives in an environment of its own; the gateway starts it as a command.
COPY deploy/lock/vllm.txt /tmp/vllm.txt
RUN python -m venv /opt/vllm \
 && /opt/vllm/bin/pip install --no-deps --require-hashes -r /tmp/vllm.txt \
 && ln -s /opt/vllm/bin/vllm /usr/local/bin/vllm

FROM torch-${DEVICE} AS stemma
WORKDIR /opt/stemma
# The dependencies change seldom, the code often: two layers.
COPY deploy/lock/build.txt deploy/lock/stemma.txt deploy/lock/
RUN pip install --no-deps --require-hashes -r deploy/lock/build.txt \
 && pip install --no-deps --require-hashes --no-build-isolation -r deploy/lock/stemma.txt
COPY . .
RUN pip install --no-deps --no-build-isolation .

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
