# An image of the hub, and one of the agent:
#   docker build -t jharnet-monitor .                          # the hub
#   docker build -t jharnet-agent --build-arg ROLE=agent .     # the agent
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --memory 2g --pids-limit 300 -v ./hub:/data -p 9797:9797 -p 40000-40199:40000-40199/udp \
#     jharnet-monitor
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --memory 512m --pids-limit 100 --network host -v ./agent:/data jharnet-agent
# The hub's /data holds jharnet.yaml and everything it names: secrets, certificate, database, reports.
# The agent's /data holds agent.yaml, its token, the hub's ca.pem and the spool. Once, to fill it:
#   docker run --rm -v ./agent:/data jharnet-agent agent --enrolment /data/ID.enrolment --into /data \
#     --no-run
# Both run as user 10001, to whom /data must belong.
ARG BASE=python:3.13-slim
ARG ROLE=hub

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/jharnet-monitor
WORKDIR /src
# Nothing is fetched without a hash, nor what builds the two packages that have no wheel.
COPY .ci/build.lock build.lock
COPY requirements.lock hub.lock
COPY config/agent.lock agent.lock
ARG ROLE
RUN /opt/jharnet-monitor/bin/pip install --quiet --require-hashes --only-binary :all: -r build.lock \
 && /opt/jharnet-monitor/bin/pip install --quiet --require-hashes --no-build-isolation \
      --only-binary :all: --no-binary speedtest-cli -r "$ROLE.lock"
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY exporters exporters
COPY jharnet_monitor jharnet_monitor
RUN /opt/jharnet-monitor/bin/pip install --quiet --no-deps --no-build-isolation . \
 && /opt/jharnet-monitor/bin/pip uninstall --quiet --yes -r build.lock pip

FROM ${BASE} AS base
LABEL org.opencontainers.image.description="Measures every block office's link, and proves it" \
      org.opencontainers.image.licenses="Apache-2.0"
# The same number everywhere, so that the files in /data can be given to it from outside.
RUN groupadd --gid 10001 jharnet \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home jharnet \
 && install --directory --owner jharnet --group jharnet --mode 700 /data
COPY --from=build /opt/jharnet-monitor /opt/jharnet-monitor
ENV PATH=/opt/jharnet-monitor/bin:$PATH \
    PYTHONUNBUFFERED=1
USER jharnet
WORKDIR /data
VOLUME /data
ENTRYPOINT ["jharnet-monitor"]

FROM base AS agent
LABEL org.opencontainers.image.title="jharnet-agent"
CMD ["agent", "--config", "/data/agent.yaml"]

FROM base AS hub
LABEL org.opencontainers.image.title="jharnet-monitor"
ENV JHARNET_CONFIG=/data/jharnet.yaml \
    JHARNET_HEALTH=https://127.0.0.1:9797/-/healthy
EXPOSE 9797/tcp 40000-40199/udp
# Asks itself, so the certificate's name does not matter. With `tls: off`: JHARNET_HEALTH=http://...
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python3", "-c", "import os, ssl, urllib.request as r; r.urlopen(os.environ['JHARNET_HEALTH'], timeout=4, context=ssl._create_unverified_context())"]
CMD ["run"]

FROM ${ROLE}
