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
    "$CARGO_TARGET_DIR/python/test/bin/python" -m pytest crates/python --ignore crates/python/tests/flower --ignore crates/python/tests/wheel "$@"

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

# Robust rules under attack, by the number of attackers and the heterogeneity, as ByzFL's heat map; continues where it stopped
robust *args: build
    python3 crates/strategy/robust.py "$CARGO_TARGET_DIR/release/fedpipe" "$@"

# Strategies on data that differ by client, five seeds, beside published cells: 90 minutes on two cores; continues where it stopped
noniid *args: build
    python3 crates/strategy/noniid.py "$CARGO_TARGET_DIR/release/fedpipe" "$@"

# The report and the trace in a browser, and the event file in TensorBoard; needs Debian's chromium and chromium-driver
[private]
release-check-report:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -n "${FEDPIPE_BIN:-}" ] || just build
    just environment report crates/report/check/requirements.txt
    python="$CARGO_TARGET_DIR/python/report/bin/python"
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    fedpipe="${FEDPIPE_BIN:-$CARGO_TARGET_DIR/release/fedpipe}"
    "$fedpipe" run mlp --data sample --rounds 6 --partition dirichlet:alpha=0.5 --holdout 0.2 --by-class --trace --tensorboard --out "$place/run" >/dev/null
    "$fedpipe" report "$place/run" --trace --tensorboard
    "$python" crates/report/check/browser.py "$place/run/report.html" "$CARGO_TARGET_DIR/report-check"
    "$python" crates/report/check/perfetto_reads.py "$place/run" "$CARGO_TARGET_DIR/report-check"
    "$python" crates/report/check/tensorboard_reads.py "$place/run"

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

# Install the command, its models, man pages and completions below PREFIX, ~/.local by default
install prefix=(home_directory() / ".local"):
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked --features fedpipe/parquet
    just stage "$CARGO_TARGET_DIR/release" "$1"
    echo "installed $1/bin/fedpipe and its models in $1/share/fedpipe/models"
    [ "$(command -v fedpipe)" = "$1/bin/fedpipe" ] || echo "for this shell: export PATH=\"$1/bin:\$PATH\"" >&2

# The wheel of the package `fedpipe` with the command and its models in $CARGO_TARGET_DIR/wheels, for any Linux with glibc 2.17
wheel:
    #!/usr/bin/env bash
    set -euo pipefail
    just environment wheel crates/python/tests/wheel/requirements.txt
    tools="$CARGO_TARGET_DIR/python/wheel/bin"
    export PATH="$tools:$PATH"
    platform=$(rustc -vV | sed -n 's/^host: //p')
    CARGO_PROFILE_RELEASE_STRIP=symbols cargo zigbuild --release --locked --features fedpipe/parquet --target "$platform.2.17"
    work="$CARGO_TARGET_DIR/wheel"
    rm -rf "$work" "$CARGO_TARGET_DIR/wheels"
    just stage "$CARGO_TARGET_DIR/$platform/release" "$work/prefix"
    "$tools/python" crates/python/third_party_licences.py "$platform" "$work/prefix/share/doc/fedpipe/THIRD-PARTY-LICENCES.txt"
    FEDPIPE_PREFIX="$work/prefix" pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work" crates/python
    # Fails if a binary needs a newer glibc, and names the wheel after the oldest that is enough.
    auditwheel repair --plat "manylinux_2_17_$(uname -m)" --wheel-dir "$CARGO_TARGET_DIR/wheels" "$work"/*.whl
    ls -l "$CARGO_TARGET_DIR/wheels"

# Copies the command and the models in the folder BUILT below PREFIX, with the crates for authors of models, man pages and completions
[private]
stage built prefix:
    #!/usr/bin/env bash
    set -euo pipefail
    share="$2/share"
    install -D -m 755 "$1/fedpipe" "$2/bin/fedpipe"
    for manifest in models/*/Cargo.toml; do
        model=$(dirname "$manifest")
        # A model with a lock file is outside the workspace.
        [ ! -f "$model/Cargo.lock" ] || continue
        file="lib$(basename "$model" | tr - _).so"
        install -D -m 644 "$1/$file" "$share/fedpipe/models/$file"
    done
    install -D -m 644 -t "$share/doc/fedpipe" LICENSE-MIT LICENSE-APACHE crates/cli/tutorial/penguins.csv
    # A clone with these crates alone, on which `fedpipe new-model` lets a model depend.
    rm -rf "$share/fedpipe/source"
    mkdir -p "$share/fedpipe/source/crates"
    cp -R crates/{model,nn,random} "$share/fedpipe/source/crates"
    cp Cargo.lock "$share/fedpipe/source"
    sed 's|"crates/\*", "models/\*"|"crates/*"|' Cargo.toml >"$share/fedpipe/source/Cargo.toml"
    "$2/bin/fedpipe" man "$share/man/man1" >/dev/null
    mkdir -p "$share"/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
    "$2/bin/fedpipe" completions bash >"$share/bash-completion/completions/fedpipe"
    "$2/bin/fedpipe" completions zsh >"$share/zsh/site-functions/_fedpipe"
    "$2/bin/fedpipe" completions fish >"$share/fish/vendor_completions.d/fedpipe.fish"

# Cargo for the model on burn, which is outside the workspace: `just burn build`, `just burn test`
burn command *args:
    #!/usr/bin/env bash
    cargo "$1" --release --locked --manifest-path models/burn/Cargo.toml --target-dir "$CARGO_TARGET_DIR/burn" "${@:2}"

# The lines of the READMEs that load an exported file, in PyTorch, too; needs Python 3.11 or older, as models/torch does
[private]
release-check-torch:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -n "${FEDPIPE_BIN:-}" ] || just build
    just environment torch models/torch/requirements.txt
    python="$CARGO_TARGET_DIR/python/torch/bin/python"
    "$python" -m pip install --quiet --disable-pip-version-check pytest==9.2.0 safetensors==0.8.0
    "$python" -m pytest crates/python/tests/test_export.py

# The slow checks of a release: the model on burn, the crates for authors of models, the wheel in bare environments, and `just install`
release-check: build-parquet wheel
    #!/usr/bin/env bash
    set -euxo pipefail
    # As `just install` builds it, so that the command is compiled once besides the wheel's.
    export FEDPIPE_BIN="$CARGO_TARGET_DIR/release/fedpipe"
    just burn build
    just burn test -- --nocapture
    cargo package --locked --package fedpipe-random --package fedpipe-nn --package fedpipe-model
    "$CARGO_TARGET_DIR/python/wheel/bin/python" -m pytest crates/python/tests/wheel
    just release-check-report
    just release-check-torch
    # With their environments the clients in Keras and PyTorch are compared with the model in Rust. CI runs all other tests, but
    # the slow federations.
    just environment keras models/keras/requirements.txt
    just test-python -k test_models
    just test-flower
