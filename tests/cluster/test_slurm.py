"""The script of a Slurm job: its text, and on a real Slurm of two nodes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.cluster.slurm import Slurm, SubmissionError, given

HERE = Path(__file__).parent
DRIVER = """
import os, re, signal, sys, time
import ray
from mien.cluster.session import Cluster, session

def stop(*_):
    raise KeyboardInterrupt

def place():
    time.sleep(0.5)
    return os.environ["SLURMD_NODENAME"] + "/" + os.environ["AWS_SECRET_ACCESS_KEY"]

signal.signal(signal.SIGTERM, stop)
words = dict(word.partition("=")[::2] for word in sys.argv[1:])
assert words["text"] == "a 'b' $HOME", words
cluster = Cluster(
    address=words["cluster.address"], nodes=int(words["cluster.nodes"]), ship=False, env=[]
)
try:
    with session(cluster):
        task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(place)
        print("nodes:", *sorted(set(ray.get([task.remote() for _ in range(6)]))))
        print("machine:", cluster.machine(), flush=True)
        if "wait" in words:
            time.sleep(120)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"nodes": 0}, r"`cluster.nodes` must be at least 1, but is 0"),
        ({"spare_cpus": 1}, r"`cluster.spare_cpus` must be at least 2, but is 1"),
        ({"temp_dir": "/" + 25 * "x"}, r"`cluster.temp_dir` must have at most 25 characters"),
        ({"memory_gb": 2.0}, r"`cluster.memory_gb` must be greater than .* \(2\), but is 2"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slurm(**parameters)


def test_the_options_say_what_is_wanted() -> None:
    slurm = Slurm(nodes=3, cores=16, gpus=2, memory_gb=64.0, partition="gpu", options=["--qos=a b"])
    lines = slurm.text(["analyze"], "/runs/one").splitlines()
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
    assert options >= {
        "--nodes=3",
        "--cpus-per-task=16",
        "--gpus-per-node=2",
        "--mem=61036M",  # MiB, rounded up
        "--partition=gpu",
        "--signal=B:USR1@120",
        "--requeue",
        "--output=/runs/one/launch/slurm-%j.log",
        "'--qos=a b'",
    }
    assert not any("account" in option for option in options)
    assert sum(node.cpus for node in slurm.machine().nodes) == 48


@pytest.mark.parametrize("nodes", [1, 2])
def test_shellcheck_finds_nothing(nodes: int, tmp_path: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no `shellcheck` here: `apt-get install shellcheck`")
    script = tmp_path / "job.sh"
    script.write_text(Slurm(nodes=nodes, memory_gb=8.0).text(["analyze", "corpus.path=a b"], "/r"))
    done = subprocess.run(
        ["shellcheck", script, HERE / "loopback_slurm.sh"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == ""


def test_a_queue_that_is_not_there_or_refuses_is_named() -> None:
    with pytest.raises(SubmissionError, match="no program `no-such-queue` here"):
        given(["no-such-queue"], "")
    with pytest.raises(SubmissionError, match="`bash` refused: no such partition"):
        given(["bash", "-c", "echo no such partition >&2; exit 1"], "")


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real Slurm on the loopback."""
    absent = [
        name for name in ("sbatch", "slurmctld", "slurmd", "munged") if not shutil.which(name)
    ]
    if absent or os.geteuid() != 0:
        pytest.skip(f"no Slurm can be started here (absent: {absent}; root: {os.geteuid() == 0})")
    folder = tmp_path_factory.mktemp("slurm")
    script = str(HERE / "loopback_slurm.sh")
    before = os.environ.get("SLURM_CONF")
    try:
        subprocess.run([script, "up", str(folder)], check=True)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield
    finally:
        subprocess.run([script, "down", str(folder)], check=True)
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before


@pytest.fixture
def temp_dir() -> Iterator[Path]:
    """Short, because Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def slurm(tmp_path: Path, temp_dir: Path) -> Slurm:
    """Two nodes; a small command in the place of mien says what it was given."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "driver.py").write_text(DRIVER)
    wrapped = {
        "mien": [sys.executable, str(tmp_path / "driver.py")],
        "python": [sys.executable],
        "ray": [str(Path(sys.executable).with_name("ray"))],
    }
    for name, command in wrapped.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "run" / "launch").mkdir(parents=True)
    return Slurm(
        nodes=2,
        cores=2,
        memory_gb=1.5,
        object_store_gb=0.1,
        time="00:05:00",
        programs=str(programs),
        temp_dir=str(temp_dir),
    )


def said(run: Path, text: str, within_s: float) -> str:
    """The job's log, as soon as it holds a text."""
    until = time.monotonic() + within_s
    log = ""
    while time.monotonic() < until:
        log = "".join(path.read_text() for path in run.glob("launch/slurm-*.log"))
        if text in log:
            return log
        time.sleep(0.5)
    raise AssertionError(f"{text!r} is not in the log after {within_s:g} s: {log}")


def ended(within_s: float) -> None:
    """Wait until the queue is empty."""
    until = time.monotonic() + within_s
    while subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout:
        assert time.monotonic() < until, "the job does not end"
        time.sleep(0.5)


@pytest.mark.ray
def test_a_job_has_all_nodes_and_ends_cleanly(
    queue: None,
    slurm: Slurm,
    tmp_path: Path,
    temp_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    out = tmp_path / "run"
    text = slurm.text(["analyze", "text=a 'b' $HOME"], str(out))
    assert "s3cret" not in text
    assert slurm.submit(text).startswith("Submitted batch job")
    log = said(out, "machine:", within_s=120)
    assert "nodes: na/s3cret nb/s3cret" in log
    assert "cpus=2.0" in log
    ended(within_s=40)
    assert not list(temp_dir.iterdir()), "Ray's folders are left"


@pytest.mark.ray
def test_a_cancelled_job_ends_its_command_and_its_nodes(
    queue: None, slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    out = tmp_path / "run"
    text = slurm.text(["analyze", "text=a 'b' $HOME", "wait=yes"], str(out))
    job = slurm.submit(text).split()[-1]
    said(out, "machine:", within_s=120)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)  # as time runs out
    log = said(out, "goes back into the queue", within_s=40)
    assert "stopped" in log
    state = ["squeue", "-h", "-j", job, "-o", "%r"]
    assert subprocess.run(state, capture_output=True, text=True, check=True).stdout.strip() in (
        "BeginTime",
        "None",
    )
    subprocess.run(["scancel", job], check=True)
    ended(within_s=40)
