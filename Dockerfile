# The hub and the agent in one small image:
#   docker build -t jharnet-monitor .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --memory 2g --pids-limit 300 -v ./hub:/data -p 9797:9797 -p 40000-40199:40000-40199/udp \
#     jharnet-monitor
# /data holds jharnet.yaml and all that it names: secrets, certificate, database, reports.
# An agent: docker run -v ./agent:/data jharnet-monitor agent --hub wss://... --office ... \
#   --token-file /data/token --ca /data/ca.pem --spool /data/spool
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/jharnet-monitor
WORKDIR /src
# Nothing is fetched without a hash, nor what builds the two packages that have no wheel.
COPY .ci/build.lock build.lock
COPY requirements.lock .
RUN /opt/jharnet-monitor/bin/pip install --quiet --require-hashes --only-binary :all: -r build.lock \
 && /opt/jharnet-monitor/bin/pip install --quiet --require-hashes --no-build-isolation \
      --only-binary :all: --no-binary speedtest-cli -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY exporters exporters
COPY jharnet_monitor jharnet_monitor
RUN /opt/jharnet-monitor/bin/pip install --quiet --no-deps --no-build-isolation . \
 && /opt/jharnet-monitor/bin/pip uninstall --quiet --yes -r build.lock pip

FROM ${BASE}
LABEL org.opencontainers.image.title="jharnet-monitor" \
      org.opencontainers.image.description="Measures every block office's link, and proves it" \
      org.opencontainers.image.licenses="Apache-2.0"
# The same number everywhere, so that the files in /data can be given to it from outside.
RUN groupadd --gid 10001 jharnet \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home jharnet \
 && install --directory --owner jharnet --group jharnet --mode 700 /data
COPY --from=build /opt/jharnet-monitor /opt/jharnet-monitor
ENV PATH=/opt/jharnet-monitor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    JHARNET_CONFIG=/data/jharnet.yaml \
    JHARNET_HEALTH=https://127.0.0.1:9797/-/healthy
USER jharnet
WORKDIR /data
VOLUME /data
EXPOSE 9797/tcp 40000-40199/udp
# Asks itself, so the certificate's name does not matter. With `tls: off`: JHARNET_HEALTH=http://...
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python3", "-c", "import os, ssl, urllib.request as r; r.urlopen(os.environ['JHARNET_HEALTH'], timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["jharnet-monitor"]
CMD ["run"]
