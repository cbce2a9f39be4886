set positional-arguments
set ignore-comments

# Where cargo builds, as its variables and its configuration say; the Python environments are in it, too.
target := `cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'`
# For `fedpipe.runs` and the tests, which do not ask cargo.
export CARGO_TARGET_DIR := target

# Train a model in a federation: `just run mlp`, `just run mlp --clients 7`; `just run keras` is a client in Python
run model *args: build
    #!/usr/bin/env bash
    set -euo pipefail
    client="models/$1/client.py"
    if [ -f "$client" ]; then
        just environment "$1" "models/$1/requirements.txt"
        shift
        # Quoted, since the command is split as a shell splits it.
        python=$(printf %q "$CARGO_TARGET_DIR/python/$(basename "$(dirname "$client")")/bin/python")
        set -- --client "$python $client" "$@"
    fi
    exec "$CARGO_TARGET_DIR/release/fedpipe" run "$@"

# A Python environment in python/NAME of cargo's folder with what FILE lists and the package `fedpipe`, made where it is missing or old
[private]
environment name file:
    #!/usr/bin/env bash
    set -euo pipefail
    environment="$CARGO_TARGET_DIR/python/$1"
    cmp -s "$2" "$environment/requirements.txt" && exit
    echo "installing what $2 lists in $environment" >&2
    if ! python3 -m venv --clear "$environment" >/dev/null; then
        echo "error: python3 makes no environments here; install it: apt-get install python3-venv" >&2
        exit 1
    fi
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    # The package as it is in this repository: nothing is built or copied.
    packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$PWD/crates/python" >"$packages/fedpipe.pth"
    cp "$2" "$environment/requirements.txt"

# A federation on Flower, all of it on this machine: `just flower mlp --clients 4 --rounds 3`, with `--tls` encrypted
flower *args: build
    just environment flower crates/python/fedpipe/flower/requirements.txt
    exec "$CARGO_TARGET_DIR/python/flower/bin/python" -m fedpipe.flower.local --binary "$CARGO_TARGET_DIR/release/fedpipe" "$@"

# Build the command and all models; `target/release/fedpipe` is then ready to use
build:
    # Always the same packages: cargo unifies features over those it is asked for, and would rebuild the host.
    cargo build --release

# Build with the reader of Parquet, too, which takes longer
build-parquet:
    cargo build --release --features fedpipe/parquet

# The tests, as in the README
test:
    cargo test --workspace

# All that can go wrong, as a table, and 200 hosts killed at random moments; with a name one of them: `just faults segfault`
faults *args:
    FEDPIPE_KILLS=200 cargo test --package fedpipe --test faults -- "$@"

# The tests of the package in crates/python, against FEDPIPE_BIN, or the command that is built here
test-python *args:
    [ -n "${FEDPIPE_BIN:-}" ] || just build
    just environment test crates/python/tests/requirements.txt
    "$CARGO_TARGET_DIR/python/test/bin/python" -m pytest crates/python --ignore crates/python/tests/flower "$@"

# The tests of federations on Flower, against FEDPIPE_BIN, or the command that is built here
test-flower *args:
    [ -n "${FEDPIPE_BIN:-}" ] || just build
    just environment flower crates/python/fedpipe/flower/requirements.txt
    "$CARGO_TARGET_DIR/python/flower/bin/pip" install --quiet --disable-pip-version-check pytest==9.2.0 pytest-xdist==3.8.0
    # Several at once, since they mostly wait; `loadgroup` hands them out one by one, and in their order.
    "$CARGO_TARGET_DIR/python/flower/bin/python" -m pytest crates/python/tests/flower --numprocesses 4 --dist loadgroup "$@"

# Format and lints, warnings as errors
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Speed and memory, in ratios of one run; with flags whole runs alone: `just bench --peers`, `just bench --help`
bench *args: build
    [ $# -gt 0 ] || cargo bench --package fedpipe-nn
    case " $* " in *" --peers "*) just cnn-epoch ;; esac
    cargo bench --package fedpipe --bench whole -- "$@"

# An epoch of the model `cnn` on one thread, beside PyTorch's and JAX's
[private]
cnn-epoch:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo bench --package fedpipe-nn --bench epoch -- 9
    for peer in torch:torch fedjax:jax; do
        environment="$CARGO_TARGET_DIR/peers/${peer%:*}"
        if [ -x "$environment/bin/python" ]; then
            "$environment/bin/python" crates/python/peers/lenet_epoch.py "${peer#*:}"
        else
            echo "${peer#*:}: not installed in $environment; see crates/python/README.md"
        fi
    done
