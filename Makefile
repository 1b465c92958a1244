.PHONY: help run test sqlx fuzz

help: ## say what can be made
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' $(firstword $(MAKEFILE_LIST))

run: ## start Hark, with a private PostgreSQL unless DATABASE_URL is set
	@scripts/ensure-postgres && exec cargo run --release

test: ## check the format, lint, and run every test
	@scripts/ensure-postgres
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo test

fuzz: ## throw bytes at the frame parser for a minute; scripts/fuzz has more targets
	@scripts/fuzz frame 60

sqlx: ## write .sqlx/ anew, after a change of a query or a migration
	@scripts/sqlx-prepare
