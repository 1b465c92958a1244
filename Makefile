.PHONY: help run check lint fmt doc test bench certify fuzz sqlx

help: ## list what can be made
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' $(firstword $(MAKEFILE_LIST))

run: ## start Hark, with a private PostgreSQL unless DATABASE_URL is set
	@scripts/ensure-postgres && exec cargo run --release

check: ## type-check the server, the tools and the tests, without building them
	cargo check --workspace --all-targets

lint: ## check the format, clippy, the shell scripts, the width of Markdown and the spelling
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@scripts/check-text

fmt: ## format the code
	cargo fmt --all

doc: ## build the documentation of the code, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

test: ## lint, and run every test; this is what the pipeline runs
	@scripts/ensure-postgres
	@$(MAKE) --no-print-directory lint
	cargo test --workspace

bench: ## measure, beside PostgreSQL alone, and write docs/performance.md (under ten minutes)
	@scripts/ensure-postgres
	cargo build --release --package hark --package hark-bench
	target/release/hark-bench standard --postgres-bin "$$(scripts/ensure-postgres --print)"

certify: ## inject faults into a server for ten minutes, and check that nothing was lost
	@scripts/ensure-postgres
	cargo build --release --package hark --package hark-certify
	target/release/hark-certify run --hark target/release/hark

fuzz: ## fuzz the frame parser for a minute; scripts/fuzz has more targets
	@scripts/fuzz frame 60

sqlx: ## write .sqlx/ anew, after a change of a query or a migration
	@scripts/sqlx-prepare
