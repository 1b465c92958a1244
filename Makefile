.PHONY: help run test bench certify fuzz sqlx

help: ## say what can be made
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' $(firstword $(MAKEFILE_LIST))

run: ## start Hark, with a private PostgreSQL unless DATABASE_URL is set
	@scripts/ensure-postgres && exec cargo run --release

test: ## check the format, lint, and run every test
	@scripts/ensure-postgres
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo test

bench: ## measure, beside PostgreSQL alone, and write docs/performance.md (under ten minutes)
	@scripts/ensure-postgres && benches/standard

certify: ## hurt a server for ten minutes, and judge whether it lost anything
	@scripts/ensure-postgres
	cargo build --release --features tools --bin hark --bin hark-certify
	target/release/hark-certify run --hark target/release/hark

fuzz: ## throw bytes at the frame parser for a minute; scripts/fuzz has more targets
	@scripts/fuzz frame 60

sqlx: ## write .sqlx/ anew, after a change of a query or a migration
	@scripts/sqlx-prepare
