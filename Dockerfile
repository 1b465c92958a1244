FROM rust:1.95-slim-bookworm AS builder
# jemalloc is built with make.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
# The dependencies are a layer of their own: it is built anew when Cargo.toml or Cargo.lock change, and
# not with every change of the sources. What stands for Hark in it is removed again, because cargo goes
# by times of files, and those of a checkout may be older than this layer.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
# Cargo reads the manifest of every workspace member, so the tools are here with theirs and an empty library each.
# `cargo build` builds the server alone, and downloads no dependency that only they have.
COPY tools/hark-bench/Cargo.toml tools/hark-bench/
COPY tools/hark-certify/Cargo.toml tools/hark-certify/
COPY tools/hark-harness/Cargo.toml tools/hark-harness/
RUN for tool in tools/*; do mkdir "$tool/src" && touch "$tool/src/lib.rs"; done \
    && mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked \
    && cargo clean --release --locked --package hark \
    && rm -r src
COPY .sqlx .sqlx
COPY migrations migrations
COPY web web
COPY src src
RUN cargo build --release --locked

# The builder's Debian release: the binary is linked against its C library.
FROM debian:bookworm-slim
# For `sslmode=verify-full` in DATABASE_URL. They are to be the newest, so no version is named.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/hark --create-home --shell /usr/sbin/nologin hark
COPY --from=builder /src/target/release/hark /usr/local/bin/hark
# A number: Kubernetes cannot know of a name that it is not root.
USER 10001:10001
WORKDIR /var/lib/hark
ENV HARK_LISTEN=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["hark", "healthcheck"]
ENTRYPOINT ["hark"]
