# An S3 store on a folder: VersityGW (Apache 2.0). Build from the repository's root:
#   docker build -f deploy/docker/storage.Dockerfile -t ghcr.io/stemma-llm/storage:0.1.0 .
# Chosen because MinIO's community images are no longer published, and because it has a single port, which always needs
# keys: SeaweedFS's filer serves every object without any on a second one. Objects are plain files below /data.
FROM versity/versitygw:v1.8.0@sha256:30292fc2eeacc67a36993b01f7a7a5e3361a19cced0e80c1d71cfa2a4b0a2499

# The image runs as root, and its new volumes would belong to root.
RUN adduser -D -u 10001 -s /sbin/nologin stemma \
 && install -d -o stemma -g stemma /data /accounts

# The accounts of the services, made by deploy.docker.buckets, lie apart from the objects.
ENV VGW_PORT=:7070 VGW_HEALTH=/health VGW_IAM_DIR=/accounts
USER 10001:10001
EXPOSE 7070
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=4 \
  CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:7070/health"]
CMD ["posix", "/data"]
