# MLflow's server with its own authentication. Build from the repository's root:
#   docker build -f deploy/docker/mlflow.Dockerfile -t ghcr.io/stemma-llm/mlflow:0.1.0 .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

COPY deploy/lock/mlflow.txt /tmp/lock.txt
RUN pip install --no-deps --require-hashes -r /tmp/lock.txt \
 && rm /tmp/lock.txt \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin stemma \
 && install -d -o stemma -g stemma /var/lib/mlflow

# These know only what is installed above.
COPY core/__init__.py core/files.py core/layout.py core/locks.py core/mlflow_store.py core/workspace.py \
     core/errors.py core/git.py /opt/stemma/core/
COPY deploy/__init__.py /opt/stemma/deploy/
COPY deploy/stack/__init__.py deploy/stack/guard.py deploy/stack/mlflow_server.py /opt/stemma/deploy/stack/
COPY deploy/docker/__init__.py deploy/docker/buckets.py /opt/stemma/deploy/docker/

ENV PYTHONPATH=/opt/stemma STEMMA_HOME=/var/lib/mlflow \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=1 MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 10001:10001
WORKDIR /var/lib/mlflow
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=4 \
  CMD ["python", "-P", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
# The command of `stemma up`: one process, the database migrated first, accounts beside the runs.
CMD ["python", "-P", "-m", "deploy.stack.mlflow_server", "--host", "0.0.0.0", "--port", "5000", "--auth"]
