# Each goal installs what it needs first (setup), says so, and does nothing when all is there.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The steps of a goal share cargo's directories: two at once would wait for each other.
.NOTPARALLEL:

# Node.js, where tests/setup.sh had to install one.
export PATH := $(CURDIR)/tests/.venv/bin:$(PATH)

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# The examples in Rust.
EXAMPLES := examples/assistant examples/moderation examples/polls examples/private-rooms examples/reminders examples/slow-mode
# A lock file that is out of date is a mistake in a check-in, and part of the work on a desk.
LOCKED := $(if $(CI),--locked)
# A program of the workspace, on the dependencies that `cargo build --workspace` makes. With --package instead, cargo
# would choose other features for them and compile most of them a second time.
build = cargo build --quiet --workspace $(LOCKED) $(addprefix --bin ,$(1))

.PHONY: help setup setup-guests setup-page setup-docs setup-fuzz setup-lint run test fuzz simulate mutants conformance clients bench measure wit-package docs lint clean

help: ## list the goals
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: setup-guests setup-page ## build and start the server in development mode, with the chat page
	@echo "Building the server. The first build takes ten to twenty minutes on two cores: it compiles a compiler and a cryptographic library too."
	cargo build --release --package parlance $(LOCKED)
	exec $(TARGET_DIR)/release/parlance dev

test: setup ## run every test: Rust, and end to end over sockets and in a browser
	tests/run.sh

# How long `make fuzz` runs each target.
FUZZ_SECONDS ?= 60

fuzz: setup-guests setup-fuzz ## read broken input of every kind, each for a minute (FUZZ_SECONDS)
	tests/fuzz/run.sh $(FUZZ_SECONDS)

# Which seeds `make simulate` runs, and at most as many for each mistake of `make mutants`.
SEEDS ?= 0..1000
# How many histories of the hubs alone `make simulate` runs; `make test` runs a part of them.
HISTORIES ?= 10000

simulate: setup-guests ## run three nodes in one process, with simulated time and faults, by a thousand seeds (SEEDS=A..B), and their hubs alone by ten thousand
	$(call build,parlance-simulate)
	$(TARGET_DIR)/debug/parlance-simulate --seeds $(SEEDS)
	PARLANCE_SEEDS=$(HISTORIES) cargo test --workspace --lib $(LOCKED) -- hub::simulation

mutants: setup-guests ## plant mistakes one after the other, and show at which seed the simulation finds each
	$(call build,parlance-simulate)
	$(TARGET_DIR)/debug/parlance-simulate --mutants --seeds $(SEEDS)

conformance: setup ## run the official suites of Socket.IO against the server (clones its repositories)
	tests/conformance/run.sh

clients: setup ## run clients of other languages, Rust and Java, against the server (needs a JDK and Maven)
	tests/clients/run.sh

bench: setup ## measure Parlance beside two Node servers and a native one (BENCH=--short: in three minutes)
	cargo build --release --package parlance --package parlance-bench $(LOCKED)
	tests/bench/run.sh $(BENCH)

measure: setup ## measure swaps under load, attacks, the start of many tenants, several nodes, joins and retention
	cargo build --release --package parlance --package parlance-build --package parlance-bench $(LOCKED)
	tests/measure.sh

wit-package: setup-guests ## encode wit/ in its binary form, target/wit/parlance-chat.wasm, for `parlance push --wit`
	$(call build,parlance-build)
	$(TARGET_DIR)/debug/parlance-build --wit wit --out '$(abspath $(TARGET_DIR))/wit'

docs: setup-guests setup-docs ## make one site of the pages, below target/docs; a link that leads nowhere fails
	$(call build,parlance-wit)
	$(TARGET_DIR)/debug/parlance-wit reference '$(abspath $(TARGET_DIR))/wit-reference'
	WIT_REFERENCE='$(abspath $(TARGET_DIR))/wit-reference' \
	tests/.venv/bin/mkdocs build --strict --config-file tests/docs/mkdocs.yml --site-dir '$(abspath $(TARGET_DIR))/docs'

lint: setup-guests setup-lint docs ## check formatting, clippy, the documentation, wit/, shell scripts, JavaScript and dependencies
	cargo fmt --all --check
	for guests in guest-handlers tests/guests $(EXAMPLES); do (cd $$guests && cargo fmt --all --check) || exit 1; done
	cargo clippy --workspace --all-targets $(LOCKED) -- -D warnings
	for guests in guest-handlers $(EXAMPLES); do (cd $$guests && \
	    cargo clippy --workspace --all-targets $(LOCKED) --target-dir '$(abspath $(TARGET_DIR))/guests' -- -D warnings) || exit 1; done
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps $(LOCKED)
	$(TARGET_DIR)/debug/parlance-wit check
	tests/lint/run.sh

setup: setup-guests ## install what building and testing need, where it is missing
	@tests/setup.sh

setup-guests:
	@guest-handlers/setup.sh

setup-page:
	@tests/setup.sh page

setup-docs:
	@tests/setup.sh docs

setup-fuzz:
	@tests/setup.sh fuzz

setup-lint:
	@tests/setup.sh lint

clean: ## remove what these goals made in this directory
	rm -rf $(TARGET_DIR) guest-handlers/target tests/guests/target
	rm -rf tests/.venv tests/e2e/node_modules tests/bench/node/node_modules examples/web-chat/node_modules
