FROM rust:1.95-slim-bookworm AS builder
# jemalloc is built with it.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY src src
COPY tools tools
COPY migrations migrations
COPY web web
COPY openapi openapi
# The caches outlive the build, so that a change of the sources does not build every crate again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/hark /usr/local/bin/hark

# The builder's Debian release: the binary is linked against its C library.
FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /var/lib/hark hark
COPY --from=builder /usr/local/bin/hark /usr/local/bin/hark
USER hark
WORKDIR /var/lib/hark
ENV HARK_LISTEN=0.0.0.0:3000
EXPOSE 3000
ENTRYPOINT ["hark"]
