# The image holds one static binary and the roots of public CAs, runs without root, and
# writes to its volume only: docker run --read-only works.
#
#   docker build -t mtasts-server .
#   docker run -p 443:443 -p 80:80 -v ./etc:/etc/mtasts-server:ro -v mtasts:/var/lib/mtasts-server mtasts-server

ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /out/mtasts-server ./cmd/mtasts-server
# An empty directory that belongs to the user below, for the volume to begin with.
RUN mkdir /out/state && cp /etc/ssl/certs/ca-certificates.crt /out/

FROM scratch
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/mtasts-server /mtasts-server
COPY --from=build --chown=65532:65532 /out/state /var/lib/mtasts-server
# Ports below 1024 are open to this user where net.ipv4.ip_unprivileged_port_start is 0
# in the container. Docker sets it so (since 20.10); for podman and Kubernetes name it
# (podman run --sysctl net.ipv4.ip_unprivileged_port_start=0), or listen on other ports.
USER 65532:65532
VOLUME /var/lib/mtasts-server
EXPOSE 443 80 25
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["/mtasts-server", "health"]
ENTRYPOINT ["/mtasts-server"]
CMD ["serve", "--config", "/etc/mtasts-server/mtasts-server.toml"]
