"""The wheel in a bare Debian: a chroot of debootstrap with Python, a new user, and no network."""

import os
import shutil
import subprocess
import sys

import pytest

REASON = "needs root and debootstrap: apt-get install debootstrap"
NEEDED = os.geteuid() == 0 and shutil.which("debootstrap") is not None

SCRIPT = """
set -eu
cd
python3 -m venv venv
venv/bin/pip install --quiet --no-index --find-links /wheels fedpipe
venv/bin/fedpipe doctor
venv/bin/fedpipe run mlp --data sample
venv/bin/python -c 'import fedpipe; print("from Python", fedpipe.run("mlp", data="sample", rounds=2).summary["accuracy"])'
"""


@pytest.fixture
def debian(tmp_path):
    """Returns the root of a bare Debian. Its /proc is mounted for the time of the test."""
    root = tmp_path / "debian"
    packages = "python3,python3-venv"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    yield root
    subprocess.run(["umount", root / "proc"], check=True)
    # 300 MB, which pytest would keep.
    shutil.rmtree(root)


@pytest.mark.skipif(not NEEDED, reason=REASON)
def test_the_wheel_alone_runs_the_main_job_for_a_new_user(debian, wheel):
    wheels = debian / "wheels"
    wheels.mkdir()
    shutil.copy(wheel, wheels)
    # The packages that the wheel depends on come from this machine, since the chroot has no network.
    version = subprocess.run(["chroot", debian, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True).stdout.strip()
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*download, "--python-version", version, "--dest", wheels, wheel], check=True)
    subprocess.run(["chroot", debian, "useradd", "--create-home", "new"], check=True)
    inside = ["unshare", "--net", "chroot", debian, "su", "new", "-c", SCRIPT]
    done = subprocess.run(inside, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlp 0.1.0: 109386 weights" in done.stdout and "results in runs/mlp-1" in done.stdout
    assert "from Python 0." in done.stdout
