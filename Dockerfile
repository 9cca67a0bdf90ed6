# One build, one target a process:
#
#   docker build --target api --build-arg VERSION=1.2.3 -t tenantry/api:1.2.3 .

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ENV GOMODCACHE=/cache/modules GOCACHE=/cache/build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/cache go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/cache \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X github.com/tenantry/tenantry/internal/app.Version=$VERSION" \
    -o /out/ ./cmd/api ./cmd/worker ./cmd/tenantctl ./cmd/vault-emulator
# The emulator's data directory, for an image that has no mkdir.
RUN mkdir -p /out/data

# Without a shell there is nothing to run a HEALTHCHECK with: orchestrators ask
# /healthz and /readyz on HTTP_ADDR, or for a worker on METRICS_ADDR.
FROM gcr.io/distroless/static-debian12:nonroot AS api
COPY --from=build /out/api /usr/bin/api
EXPOSE 8080
ENTRYPOINT ["/usr/bin/api"]

# What runs jobs needs pg_dump for the final dump of a purged tenant, of a version
# no older than the tenant servers'.
FROM debian:bookworm-slim AS with-pg-dump
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates postgresql-client-15 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tenantry \
    && install -d -o 10001 -g 10001 -m 0700 /backups
USER 10001:10001

FROM with-pg-dump AS worker
COPY --from=build /out/worker /usr/bin/worker
# A worker needs up to 26 s to stop: give it 30 before it is killed.
ENTRYPOINT ["/usr/bin/worker"]

# The api and a probe, for docker-compose.yml, which asks within the container.
FROM api AS api-with-probe
COPY --from=busybox:1.37.0-musl /bin/busybox /usr/bin/wget
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=5 \
    CMD ["/usr/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/readyz"]

# The command line, with the shell that scripts such as deploy/seed.sh need.
FROM with-pg-dump AS tenantctl
COPY --from=build /out/tenantctl /usr/local/bin/tenantctl
ENTRYPOINT ["/usr/local/bin/tenantctl"]

# For development only: it takes any token. Its user is not the one of the other
# images, so that those who share its volume can read the authority and no more.
FROM gcr.io/distroless/static-debian12:nonroot AS vault-emulator
COPY --from=build /out/vault-emulator /usr/bin/vault-emulator
COPY --from=build --chown=65533:65533 /out/data /data
USER 65533:65533
VOLUME /data
EXPOSE 8443
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=5 \
    CMD ["/usr/bin/vault-emulator", "--healthcheck", "--addr", "127.0.0.1:8443", "--data-dir", "/data"]
ENTRYPOINT ["/usr/bin/vault-emulator"]
CMD ["--addr", "0.0.0.0:8443", "--data-dir", "/data", "--host", "vault"]
