"""All that the wheel brings, in an environment without a clone, without cargo and without a network."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedpipe.runs import target

REPOSITORY = Path(__file__).parents[4]

MODELS = ["cnn", "linreg", "logreg", "mlp"]

PROGRAM = """
import fedpipe
run = fedpipe.run("mlp", data="sample", rounds=2, out="from-python", progress=False)
print(run.summary["weights_sha256"], run.weights()["dense1.weight"].shape, fedpipe.runs.find())
"""

CLIENT = """
import fedpipe, numpy as np
class Zero(fedpipe.Model):
    def __init__(self, task, options, seed): self.w = np.zeros(task.classes, np.float32)
    def weights(self): return {"w": self.w}
    def set_weights(self, weights): self.w = weights["w"].copy()
    def sums(self, batch):
        sums = fedpipe.Sums(); sums.add(2.3 * len(batch), (batch.labels == 0).sum(), len(batch)); return sums
    def train_epoch(self, examples, epoch):
        report = fedpipe.Report(sums=self.sums(examples.all()))
        report.steps = sum(1 for batch in epoch.batches(examples)); return report
    def evaluate(self, examples): return self.sums(examples.all())
fedpipe.serve(Zero)
"""


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_tag_is_that_of_an_old_glibc(wheel):
    auditwheel = shutil.which("auditwheel", path=os.path.dirname(sys.executable))
    shown = subprocess.run([auditwheel, "show", wheel], capture_output=True, text=True, check=True).stdout
    assert "manylinux_2_17_" in wheel.name and "manylinux_2_17_" in shown.replace("\n", " "), shown
    # The command links nothing but glibc.
    assert "libssl" not in shown and "libstdc++" not in shown, shown


def test_the_command_runs_the_main_job(bare):
    text = bare.run("fedpipe", "run", "mlp", "--data", "sample", "--out", "main")
    assert "mlp 0.1.0: 109386 weights" in text and "accuracy" in text, text
    assert sorted(path.name for path in (bare.home / "main").glob("*.png")) == ["partition.png", "result.png"]
    bare.run("fedpipe", "verify", "main")


def test_python_runs_the_same_job_without_fedpipe_bin(bare):
    bare.run("fedpipe", "run", "mlp", "--data", "sample", "--rounds", "2", "--out", "from-shell")
    weights = summary(bare.home / "from-shell")["weights_sha256"]
    assert bare.run("python", "-c", PROGRAM).strip() == f"{weights} (784, 128) {bare.folder / 'bin' / 'fedpipe'}"


def test_a_client_in_python_is_isolated_and_trains(bare):
    (bare.home / "project").mkdir()
    (bare.home / "project" / "client.py").write_text(CLIENT)
    python = bare.folder / "bin" / "python"
    text = bare.run("fedpipe", "run", "--client", f"{python} project/client.py", "--data", "sample", "--rounds", "1", "--out", "client")
    assert "zero 0.1.0: 10 weights" in text, text


def test_the_models_are_the_models_and_no_fixtures(bare):
    listed = [line.split()[0] for line in bare.run("fedpipe", "models").splitlines() if not line.startswith(" ")]
    assert listed == MODELS


def test_the_doctor_finds_nothing_broken(bare):
    text = bare.run("fedpipe", "doctor")
    assert all(f"fine     models      {model} " in text for model in MODELS), text
    assert str(bare.folder / "share" / "fedpipe" / "models") in text


def test_parquet_is_read(bare):
    table = REPOSITORY / "crates/data/src/source/testdata/table.parquet"
    flags = ["--label", "sex", "--client-column", "who", "--test-split", "0.5", "--clients", "1"]
    assert "total" in bare.run("fedpipe", "data", "show", "--data", table, *flags, "--picture", "p.png")


def test_shells_and_man_have_their_files(bare):
    share = bare.folder / "share"
    completions = share / "bash-completion/completions/fedpipe"
    script = f"source {completions}; complete -p fedpipe; COMP_WORDS=(fedpipe do); COMP_CWORD=1; _fedpipe fedpipe do fedpipe; echo ${{COMPREPLY[*]}}"
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert completed.stdout.splitlines()[-1] == "doctor", completed
    assert (share / "zsh/site-functions/_fedpipe").read_text().startswith("#compdef fedpipe")
    assert "complete -c fedpipe" in (share / "fish/vendor_completions.d/fedpipe.fish").read_text()
    pages = {path.stem for path in (share / "man/man1").iterdir()}
    assert {"fedpipe", "fedpipe-run", "fedpipe-verify", "fedpipe-doctor", "fedpipe-data-show"} <= pages
    assert r"\-\-clients" in (share / "man/man1/fedpipe-run.1").read_text()


def test_the_wheel_has_the_bits_of_this_clones_build(bare, tmp_path):
    own = os.environ.get("FEDPIPE_BIN", os.path.join(target(), "release", "fedpipe"))
    flags = ["run", "cnn", "--data", "sample", "--rounds", "1", "--clients", "2", "--out"]
    subprocess.run([own, *flags, tmp_path / "own"], check=True, capture_output=True)
    bare.run("fedpipe", *flags, tmp_path / "wheel")
    ours, theirs = (summary(tmp_path / name)["weights_sha256"] for name in ("own", "wheel"))
    assert ours == theirs


def test_the_licences_of_all_linked_packages_are_there(bare):
    text = (bare.folder / "share/doc/fedpipe/THIRD-PARTY-LICENCES.txt").read_text()
    # Strings that rustc puts into each binary for its panics: the sources of the packages that are linked.
    linked = set()
    for binary in [bare.folder / "bin/fedpipe", *(bare.folder / "share/fedpipe/models").iterdir()]:
        linked |= set(re.findall(rb"/registry/src/[^/]+/([\w-]+?)-(\d+\.[^/]*)/", binary.read_bytes()))
    missing = [f"{name} {version}" for name, version in ((n.decode(), v.decode()) for n, v in linked) if f"* {name} {version}: " not in text]
    assert len(linked) > 30 and missing == [], missing


def test_a_new_model_builds_against_the_wheel_alone(bare, tmp_path):
    bare.run("fedpipe", "new-model", "mine", cwd=tmp_path)
    manifest = (tmp_path / "mine/Cargo.toml").read_text()
    assert str(bare.folder / "share/fedpipe/source/crates/model") in manifest, manifest
    # Shared by all runs of this test: the dependencies take a minute.
    env = {**os.environ, "CARGO_TARGET_DIR": os.path.join(target(), "wheel-model"), "CARGO_NET_OFFLINE": "true"}
    for words in ["test", "--release"], ["build", "--release"]:
        done = subprocess.run(["cargo", *words], cwd=tmp_path / "mine", env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    dylib = os.path.join(target(), "wheel-model/release/libmine.so")
    text = bare.run("fedpipe", "run", dylib, "--data", "sample", "--out", "mine")
    assert "mine 0.1.0: 25450 weights" in text, text


@pytest.mark.skipif(shutil.which("just") is None or shutil.which("cargo") is None, reason="just or cargo is not installed")
def test_just_install_makes_a_command_that_finds_its_models(tmp_path):
    prefix, home = tmp_path / "prefix", tmp_path / "home"
    home.mkdir()
    subprocess.run(["just", "install", prefix], cwd=REPOSITORY, check=True, capture_output=True)
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    for words in ["models"], ["run", "mlp", "--data", "sample", "--rounds", "1"]:
        done = subprocess.run([prefix / "bin/fedpipe", *words], cwd=home, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # A model of the user's is found beside those of the installation.
    own = home / ".local/share/fedpipe/models"
    own.mkdir(parents=True)
    (prefix / "share/fedpipe/models/libcnn.so").rename(own / "libcnn.so")
    listed = subprocess.run([prefix / "bin/fedpipe", "models"], env=clean, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == MODELS
    assert str(own / "libcnn.so") in listed
