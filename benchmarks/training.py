"""Training: loaders, the loop against a plain one, and each network with a kill in between.

usage: training.py [--part all|loader|loop|networks] [--only NETWORK] [--epochs 6] [--full]

loader: examples per second, from decoded frames and from JPEG files by torch and Pillow.
loop: our loop and a plain PyTorch loop, written out below, in turn: same network, data and batches;
by CPU time of one thread, so that what else the machine does counts little.
networks: one fold of each network on drawn faces; the process is killed (SIGKILL) after the first
epoch that was kept, and the fold is taken up by another one. Small variants; `--full`: as
`conf/model` has them, at 224 pixels.

The faces are drawn by code: scores show that training works, and say nothing about real people.
"""

import json
import multiprocessing
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

import drawn
from common import arguments, show
from mien.actors.nets.network import loss
from mien.cluster.session import Cluster
from mien.datasets.labelled import Folder
from mien.jobs.evaluation.scores import balanced_accuracy, confusion
from mien.jobs.main import configuration
from mien.jobs.training.augment import Augment
from mien.jobs.training.data import loader, shuffled
from mien.jobs.training.folds import Protocol
from mien.jobs.training.loop import Fit
from mien.jobs.training.model import Model, TrainPhase
from mien.jobs.training.schedule import Schedule
from mien.jobs.training.task import Training

SMALL: dict[str, dict[str, Any]] = {
    "improved_cnn": {"hidden": 64, "dropout": [0.1, 0.1], "head_dropout": [0.2, 0.2]},
    "tiny_vit": {"patch_px": 8, "width": 96, "layers": 3, "heads": 3},
    "resnet50": {"weights": "random"},
    "vit_b16": {
        "weights": "random",
        "patch_px": 8,
        "width": 96,
        "layers": 4,
        "heads": 3,
        "mlp": 192,
    },
    "temporal_vit": {"frames": 4, "spatial": "tiny_vit", "heads": 8, "hidden": 64},
    "multimodal": {"frames": 4, "spatial": "tiny_vit", "heads": 8, "hidden": 64, "layers": 6},
}
for _clips in ("temporal_vit", "multimodal"):
    SMALL[_clips]["spatial_parameters"] = SMALL["tiny_vit"]
SIDE_PX = 48
REPEATS = 5
EPOCH_ROWS = 512
"""Of an epoch in the comparison of loops: what is done once an epoch weighs less."""


def training(path: Path, run: Path, network: str, epochs: int, full: bool) -> Training:
    """One fold's training on drawn faces."""
    asked: dict[str, Any] = {"size_px": SIDE_PX, "batch_size": 16, "parameters": SMALL[network]}
    if full:
        node = configuration("train", [f"model={network}", f"data.path={path}"]).model
        asked = {name: node[name] for name in asked}
    made = Training(
        model=Model(
            network=network,
            phases={"all": TrainPhase(epochs=epochs, head_rate=1e-3, backbone_rate=1e-3)},
            **asked,
        ),
        data=Folder(path=str(path), synthetic=True),
        protocol=Protocol(folds=3, inner=3),
        schedule=Schedule(device="cpu", augment=Augment(share=0.0), patience=epochs),
        sound_s=1.0,
    )
    made.prepare(Cluster(), run)
    return made


class Files(Dataset):
    """Frames as a plain torch data set reads them: a JPEG at a time, by Pillow."""

    def __init__(self, paths: list[str], side_px: int) -> None:
        """Remember the files."""
        self._paths, self._side_px = paths, side_px

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        image = Image.open(self._paths[at]).convert("RGB").resize((self._side_px, self._side_px))
        return functional.pil_to_tensor(image)


def loaders(folder: Path) -> list[dict[str, Any]]:
    """Examples per second, at 224 pixels, of two epochs each."""
    path = drawn.folder(folder / "large", persons=4, frames=8, side_px=256)
    made = training(path, folder / "large-run", "improved_cnn", 1, False)
    made = Training(**{**_fields(made), "model": Model(**{**vars(made.model), "size_px": 224})})
    began = time.perf_counter()
    made.prepare(Cluster(), folder / "large-run")
    decode_s = time.perf_counter() - began
    examples, count = made.examples, len(made.examples.table)
    files = Files(examples.frames.rows["uri"].to_pylist(), 224)
    ours = [shuffled(np.arange(count), 32, seed=0, epoch=epoch) for epoch in (1, 2)]
    rows = []
    for name, epochs in {
        "decoded frames, no workers": [loader(examples, order) for order in ours],
        "decoded frames, 1 worker": [loader(examples, order, workers=1) for order in ours],
        "JPEG by Pillow, no workers": [DataLoader(files, 32, shuffle=True)] * 2,
        "JPEG by Pillow, 2 workers": [DataLoader(files, 32, shuffle=True, num_workers=2)] * 2,
    }.items():
        began = time.perf_counter()
        for epoch in epochs:
            for _ in epoch:
                pass
        rows.append({"loader": name, "examples/s": 2 * count / (time.perf_counter() - began)})
    rows.append({"loader": "decoding, once", "examples/s": count / decode_s})
    return rows


def _fields(made: Training) -> dict[str, Any]:
    return {n: getattr(made, n) for n in ("data", "protocol", "schedule", "sound_s", "headline")}


def plain(made: Training, learn: np.ndarray) -> tuple[Callable[[], None], int]:
    """A plain loop: one epoch of it, over tensors in memory, and its rows."""
    examples = made.examples
    pictures = torch.from_numpy(np.array(examples.frames.pixels)).permute(0, 3, 1, 2).contiguous()
    data = torch.utils.data.TensorDataset(
        pictures[torch.from_numpy(learn)], torch.from_numpy(examples.truth[learn])
    )
    network = made.model.build(len(made.labels))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    batches = DataLoader(data, made.model.batch_size, shuffle=True)

    def epoch() -> None:
        network.train()
        total = 0.0
        for shown, truth in batches:
            optimizer.zero_grad()
            found = loss(network({"frames": shown}), truth)
            found.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total += found.item()

    return epoch, len(learn)


def loops(folder: Path) -> list[dict[str, Any]]:
    """Examples per CPU second of both loops in turn; the median of the ratios counts."""
    path, rows = faces(folder), []
    for network in ("improved_cnn", "tiny_vit", "resnet50"):
        made = training(path, folder / "run", network, REPEATS + 1, False)
        learn, stop = made.parted()
        learn = np.resize(learn, EPOCH_ROWS)
        fit = Fit(made.model.build(len(made.labels)), made.model.phases, made.schedule, 16)
        theirs, count = plain(made, learn)
        theirs()
        epochs = fit.run(made.examples, learn, stop[:1])  # as good as no validation
        next(epochs)
        ours_s, plain_s = [], []
        for _ in range(REPEATS):
            began = time.process_time()
            next(epochs)
            middle = time.process_time()
            theirs()
            ours_s.append(middle - began)
            plain_s.append(time.process_time() - middle)
        ratios = [other / own for own, other in zip(ours_s, plain_s, strict=True)]
        rows.append(
            {
                "network": network,
                "ours, examples per CPU s": count / statistics.median(ours_s),
                "plain, examples per CPU s": count / statistics.median(plain_s),
                "ratio": statistics.median(ratios),
            }
        )
        print(rows[-1], flush=True)
    return rows


def killed(made: Training, fold: str) -> None:
    """Train a fold in another process, and kill it once an epoch has been kept."""
    child = multiprocessing.get_context("fork").Process(target=made.judge, args=(fold,))
    child.start()
    while child.is_alive() and not (made.states / f"{fold}.pt").exists():
        time.sleep(0.002)
    if child.pid:
        os.kill(child.pid, signal.SIGKILL)
    child.join()


def networks(folder: Path, epochs: int, full: bool, only: str | None) -> list[dict[str, Any]]:
    """A line for each network."""
    path, rows = faces(folder, sound=True), []
    for network in [only] if only else SMALL:
        made = training(path, folder / f"run-{network}", network, epochs, full)
        fold = made.folds()[0]
        table = made.judge(fold)
        calm = json.loads(made.facts(fold).read_text())
        shutil.rmtree(made.states)
        killed(made, fold)
        stood = (made.states / f"{fold}.pt").exists()
        again = made.judge(fold)
        facts = json.loads(made.facts(fold).read_text())
        same = [e["train_loss"] for e in facts["history"]] == [
            e["train_loss"] for e in calm["history"]
        ]
        counts = confusion(table["truth"].to_pylist(), table["predicted"].to_pylist(), made.labels)
        shown_s = sum(epoch["wall_s"] for epoch in calm["history"])
        best = [epoch for epoch in calm["history"] if epoch["best"]][-1]
        parameters = sum(p.numel() for p in made.fit().network.parameters())
        rows.append(
            {
                "network": network,
                "parameters": f"{parameters / 1e6:.2f} M",
                "epochs": len(calm["history"]),
                "s per epoch": shown_s / len(calm["history"]),
                "examples/s": sum(e["rows"] for e in calm["history"]) / shown_s,
                "inner score": best["score"],
                "held-out score": float(balanced_accuracy(counts)),
                "killed after epoch": facts["resumed_after"] if stood else None,
                "same as without": same and again.equals(table),
            }
        )
        print(rows[-1], flush=True)
        shutil.rmtree(folder / f"run-{network}")
    return rows


def faces(folder: Path, sound: bool = False) -> Path:
    """The drawn set."""
    path = folder / ("heard" if sound else "seen")
    return path if path.exists() else drawn.folder(path, persons=6, frames=8, sound=sound)


def main() -> int:
    """Run the parts; 1 where a network did not go on as if nothing had happened."""
    asked = arguments(
        __doc__,
        part={"choices": ("all", "loader", "loop", "networks"), "default": "all"},
        epochs={"type": int, "default": 6},
        full={"action": "store_true"},
        only={"choices": tuple(SMALL)},
    )
    torch.set_num_threads(1)
    folder, wrong = Path(tempfile.mkdtemp(prefix="training-")), 0
    rows: list[dict[str, Any]] = []
    if asked.part in ("all", "loader"):
        rows += (found := loaders(folder))
        show("Loaders", found)
    if asked.part in ("all", "loop"):
        rows += (found := loops(folder))
        show("Our loop against a plain one", found)
    if asked.part in ("all", "networks"):
        rows += (found := networks(folder, asked.epochs, asked.full, asked.only))
        wrong = sum(not row["same as without"] for row in found)
        show("Networks on drawn faces (synthetic)", found)
    if asked.json:
        show("Training", rows, asked.json, wrong=wrong)
    shutil.rmtree(folder, ignore_errors=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
