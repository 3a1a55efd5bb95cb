"""Reading memory, against processes whose need is known."""

import subprocess
import sys
import time

import psutil

from mien.cluster.memory import PeakMemory, tree_gb

HOG = "import time; held = bytearray(b'x' * 200_000_000); print('held', flush=True); time.sleep(60)"


def test_children_count() -> None:
    alone = tree_gb(psutil.Process())
    hog = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE)
    try:
        assert hog.stdout
        hog.stdout.readline()
        assert 0.18 < tree_gb(psutil.Process()) - alone < 0.4
    finally:
        hog.kill()
        hog.wait()


def test_the_peak_outlives_its_cause() -> None:
    with PeakMemory(every_s=0.02) as memory:
        held = bytearray(b"x" * 300_000_000)
        time.sleep(0.3)
        del held
        time.sleep(0.1)
    assert memory.peak_gb - tree_gb(psutil.Process()) > 0.25


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(gone.pid)
    gone.wait()
    assert tree_gb(psutil.Process()) > 0
    assert not process.is_running()
