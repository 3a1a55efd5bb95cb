"""Where the time of a fold of `mien benchmark=smic` goes: features once, then an epoch by parts.

Seconds of processor, on one thread: what else the machine does hardly counts. The clips are random;
their number and the sizes are those of SMIC-HS.
"""

import time
from collections.abc import Callable

import numpy as np

from common import arguments, show

CLIPS, FOLDS = 164, 16


def spent(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of processor that a call takes, after one that warms up."""
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def flow_s(size_px: int) -> dict[str, float]:
    """Both flows of a clip, with each method."""
    import cv2

    from mien.actors.flow import Dis, TvL1

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    first = cv2.GaussianBlur(rng.integers(0, 255, (size_px, size_px), np.uint8), (0, 0), 3)
    second = np.roll(first, 1, axis=1)
    found = {}
    for name, method in (("TV-L1", TvL1()), ("DIS", Dis())):
        method.setup()
        found[name] = 2 * spent(lambda method=method: method.between(first, second))
    return found


def fold_s(size_px: int, batch: int) -> dict[str, float]:
    """An epoch of a fold, by parts, from one batch."""
    import torch

    from mien.jobs.benchmark.micro_dual import DualStream
    from mien.jobs.benchmark.micro_samples import Samples
    from mien.jobs.benchmark.micro_training import Training

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    truth = np.arange(batch) % 3
    samples = Samples(
        labels=("negative", "positive", "surprise"),
        ids=np.arange(batch).astype(str),
        subjects=(np.arange(batch) % FOLDS).astype(str),
        parts=np.array(["smic"] * batch),
        truth=truth,
        pictures=rng.integers(0, 255, (batch, size_px, size_px, 3), np.uint8),
        strain=np.zeros((batch, 8, 8), np.uint8),
        directions=np.zeros((batch, 8, 8, 8), np.float32),
        peaks=np.zeros(batch, np.float32),
        units=np.zeros((batch, 100), bool),
    )
    recipe = DualStream(weights="random", alike="labels", batch_size=batch)
    training = Training(recipe, samples, 0)
    rows = torch.arange(batch)
    pictures, units = training.augmented(rows)
    labels = torch.from_numpy(truth)
    vary = spent(lambda: training.augmented(rows))
    whole = spent(lambda: training.epoch())
    with torch.no_grad():
        training.network.train()
        forward = spent(lambda: training.loss(pictures, labels, units))
    judge = spent(lambda: training.scores(pictures))
    learnt, judged = CLIPS * (FOLDS - 1) / FOLDS / batch, CLIPS / FOLDS / batch
    return {
        "vary": vary * learnt,
        "forward": forward * learnt,
        "backward and step": (whole - vary - forward) * learnt,
        "judge": judge * judged,
        "epoch": whole * learnt + judge * judged,
    }


def main() -> None:
    """Print the table."""
    args = arguments(
        __doc__,
        sizes={"type": int, "nargs": "+", "default": [224, 112, 64], "help": "px"},
        batch={"type": int, "default": 16, "help": "clips in the batch that is timed"},
    )
    rows = []
    for size_px in args.sizes:
        flow, fold = flow_s(size_px), fold_s(size_px, args.batch)
        rows.append(
            {
                "side, px": size_px,
                **{f"flow of a clip, {name}, s": seconds for name, seconds in flow.items()},
                **{f"{name}, s": seconds for name, seconds in fold.items()},
                "100 epochs, min": fold["epoch"] * 100 / 60,
                "16 folds on 2 cores, h": fold["epoch"] * 100 * FOLDS / 2 / 3600,
            }
        )
    show("A fold of SMIC-HS, dual-stream network", rows, args.json)


if __name__ == "__main__":
    main()
