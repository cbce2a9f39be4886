set positional-arguments

# Train a model in a federation: `just run mlp`, `just run mlp --clients 7`
run model *args: build
    target/release/fedpipe run "$@"

# Build the command and all models; `target/release/fedpipe` is then ready to use
build:
    # Always the same packages: cargo unifies features over those it is asked for, and would rebuild the host.
    cargo build --release

# The tests, as in the README
test:
    cargo test --workspace

# All that can go wrong, as a table, and 200 hosts killed at random moments; with a name one of them: `just faults segfault`
faults *args:
    FEDPIPE_KILLS=200 cargo test --package fedpipe --test faults -- "$@"

# Format and lints, warnings as errors
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Speed and memory, in ratios of one run; with flags whole runs alone: `just bench --peers`, `just bench --help`
bench *args: build
    [ $# -gt 0 ] || cargo bench --package fedpipe-nn
    cargo bench --package fedpipe --bench whole -- "$@"
