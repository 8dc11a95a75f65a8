# One image for every process of imagequeue: `imagequeue api` (the default), `worker`, `mcp --http`, `flower`.
# Settings and secrets come from the environment when it runs; none are in the image.

# The Python that constraints.txt was resolved for.
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY imagequeue imagequeue
COPY mcp_bridge mcp_bridge
COPY sandbox sandbox
COPY worker worker
RUN python -m venv /opt/imagequeue \
    && /opt/imagequeue/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[flower]'

FROM python:3.11-slim
COPY --from=build /opt/imagequeue /opt/imagequeue
# New volumes take over the folders' owner and mode.
RUN useradd --system --uid 10001 --create-home imagequeue \
    && install --directory --owner=imagequeue /var/lib/imagequeue/spool \
    && install --directory --owner=imagequeue --mode=0700 /var/lib/imagequeue/keys
# IMAGEQUEUE_API_HOST: inside a container 127.0.0.1 is reached by nobody else. The API starts only with API keys there.
ENV PATH=/opt/imagequeue/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    IMAGEQUEUE_API_HOST=0.0.0.0 \
    IMAGEQUEUE_LOG_FORMAT=json
USER imagequeue
WORKDIR /home/imagequeue
EXPOSE 8080
ENTRYPOINT ["imagequeue"]
CMD ["api"]
