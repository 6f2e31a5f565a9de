# Prefect's server and UI. Build from the repository's root:
#   docker build -f deploy/docker/prefect.Dockerfile -t ghcr.io/stemma-llm/prefect:0.1.0 .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

COPY deploy/lock/prefect.txt /tmp/lock.txt
RUN pip install --no-deps --require-hashes -r /tmp/lock.txt \
 && rm /tmp/lock.txt \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin stemma \
 && install -d -o stemma -g stemma /var/lib/prefect

# Who holds a slot of a concurrency limit is kept in the home, so that a restart does not lose the slot.
ENV PREFECT_HOME=/var/lib/prefect \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/var/lib/prefect/ui \
    PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER 10001:10001
WORKDIR /var/lib/prefect
EXPOSE 4200
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["python", "-P", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4200/api/health', timeout=4)"]
CMD ["prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200"]
