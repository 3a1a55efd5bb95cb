"""What a training comes to: scores, curves, costs, and where the network looked."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..evaluation.figures import Curves, Figure, Picture, Pictures, Rows
from ..evaluation.intervals import overfitting
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import predictions
from ..evaluation.results import measured
from .compare import Other, compared
from .task import SPLIT, Training

if TYPE_CHECKING:
    from ...actors.nets.network import Network
    from .loop import Epoch

BASELINE = "most frequent label"
MEASURED = (
    *("accuracy", "balanced_accuracy", "macro_precision", "uar", "macro_f1", "weighted_f1"),
    "auc",
)
OVERFITTED = 1 / 3
"""The held-out loss is twice the training loss: said in words."""
LOOKS = 8
"""Pictures of where the network looked, at most."""
LOOK_PX = 160
"""Their side, at least half of it."""
FOLDS = 6
"""Folds whose curves are drawn, at most."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """The network that is kept.

    Attributes:
        network: Trained, on the CPU.
        history: Its epochs.
        path: Of the exported file.
    """

    network: "Network"
    history: "Sequence[Epoch]"
    path: Path


def outcome(
    training: Training, judged: pa.Table, kept: Final | None, rivals: Sequence[Other]
) -> Outcome:
    """Draw the results from the predictions.

    Args:
        training: Prepared.
        judged: Predictions of all folds.
        kept: The network that is kept, if there is one.
        rivals: Other runs to compare with.
    """
    system, folds = training.model.network, training.folds()
    facts = {fold: json.loads(training.facts(fold).read_text()) for fold in folds}
    table = pa.concat_tables([judged, _baseline(training, folds)])
    kind = "synthetic" if training.data.synthetic else "system"
    results = measured(
        training.name,
        table,
        labels=training.labels,
        inputs={system: training.model.inputs},
        kinds={system: kind, BASELINE: "baseline"},
        metrics=MEASURED,
        split=SPLIT,
    )
    lines = _lines(facts)
    figures: list[Figure] = [Rows(title="Folds", table=lines, note=OVERFITTING)]
    if rivals:
        other = compared(judged, rivals, training.labels, training.headline, SPLIT)
        figures.insert(0, Rows(title="Compared with other runs", table=other, note=COMPARISON))
    figures += [_curves(f"Fold {fold}", facts[fold]["history"]) for fold in folds[:FOLDS]]
    if kept:
        figures.append(_curves("The network that is kept", [asdict(e) for e in kept.history]))
        figures.append(_costs(training, kept.network))
        figures.append(_looks(training, kept.network))
    return Outcome(
        title=f"{system} on {training.name}",
        benchmark=training.name,
        labels=training.labels,
        headline=training.headline,
        predictions=table,
        results=results,
        notes=_notes(training, facts, lines),
        figures=figures,
    )


OVERFITTING = (
    "Overfitting is (v - t) / (v + t) of the losses t on the rows learnt from and v on the rows "
    "held out, both without dropout and augmentation: 0 where they are equal, 1/3 where v is twice "
    "t, from -1 to 1."
)
COMPARISON = (
    "Difference, interval and `p by group`: paired bootstrap by group. `t` and `p by fold`: "
    "corrected resampled t-test (Nadeau & Bengio 2003) over the folds of all repeats; a plain "
    "t-test on folds would find differences where there are none."
)


def _baseline(training: Training, folds: Sequence[str]) -> pa.Table:
    """What always saying the commonest label of the rows to learn from would come to."""
    examples, parts = training.examples, []
    for fold in folds:
        learn, held = training.outer(fold)
        common = training.labels[np.bincount(examples.truth[learn]).argmax()]
        rows = examples.table.take(pa.array(held))
        repeat = fold[1:].split("f")[0]
        parts.append(
            predictions(
                benchmark=training.name,
                system=BASELINE,
                split=SPLIT if repeat == "1" else f"{SPLIT}{repeat}",
                fold=fold,
                ids=rows["id"].to_pylist(),
                groups=rows[training.protocol.group].to_pylist(),
                truth=rows["label"].to_pylist(),
                predicted=[common] * len(rows),
            )
        )
    return pa.concat_tables(parts)


def _notes(training: Training, facts: dict[str, dict[str, Any]], lines: pa.Table) -> list[str]:
    protocol, table = training.protocol, training.examples.frames.rows
    broken = table["status"].to_pylist().count("failed")
    first = next(iter(facts.values()))
    gap = float(np.mean(lines["overfitting"].to_numpy()))
    notes = [
        f"Nested cross-validation by {protocol.group}, {len(facts)} folds: no {protocol.group} "
        "stands on both sides of a split, and what training stops by is never what judges it. "
        "Values are of the pooled rows of the first repeat, intervals by bootstrap of whole "
        "groups.",
        f"Weights of the trunk before training: {first['origin']}.",
        f"Overfitting {gap:.2f} on average of the folds (0: none, 1/3: twice the loss on others).",
    ]
    if gap > OVERFITTED:
        notes.append("The network has learnt much that holds only for those it learnt from.")
    if broken:
        notes.append(f"{broken} of {len(table)} frames could not be read and are left out.")
    if training.data.synthetic:
        notes.append("The frames are generated: these numbers say nothing about real people.")
    return notes


def _lines(facts: dict[str, dict[str, Any]]) -> pa.Table:
    """A line for each fold."""
    rows = []
    for fold, fact in facts.items():
        history = fact["history"]
        best = [epoch for epoch in history if epoch["best"]] or history[-1:]
        rows.append(
            {
                "fold": fold,
                "epochs": len(history),
                "best epoch": best[-1]["number"],
                "inner score": best[-1]["score"],
                "train loss": fact["train_loss"],
                "held-out loss": fact["held_out_loss"],
                "overfitting": overfitting(fact["train_loss"], fact["held_out_loss"]),
                "examples/s": sum(e["rows"] for e in history) / sum(e["wall_s"] for e in history),
                "resumed after": fact["resumed_after"],
            }
        )
    return pa.Table.from_pylist(rows)


def _curves(title: str, history: Sequence[dict[str, Any]]) -> Curves:
    return Curves(
        title=title,
        x=[epoch["number"] for epoch in history],
        lines={
            "training loss": [epoch["train_loss"] for epoch in history],
            "validation loss": [epoch["validation_loss"] for epoch in history],
            "balanced accuracy": [epoch["score"] for epoch in history],
        },
        x_name="epoch",
        note="Validation: the groups that training stops by.",
    )


def _costs(training: Training, network: "Network") -> Rows:
    from ...actors.nets.complexity import complexity

    rows = min(training.model.batch_size, 8)
    table = pa.Table.from_pylist([asdict(complexity(network, rows=rows))])
    return Rows(
        title="Cost",
        table=table,
        note=f"Operations of one example; memory measured in a training step of {rows} rows.",
    )


def _looks(training: Training, network: "Network") -> Pictures:
    """Where the network looked, in some examples of each label."""
    from ...actors.nets.attention import looked
    from ...actors.nets.network import probabilities
    from ...actors.nets.overlay import overlay

    examples, pictures = training.examples, []
    each = max(1, LOOKS // len(training.labels))
    scale = max(1, LOOK_PX // training.model.size_px)
    for number, label in enumerate(training.labels):
        known = np.flatnonzero(examples.truth == number)
        rows = known[np.linspace(0, len(known) - 1, min(each, len(known))).astype(int)]
        batch = examples.batch(rows.tolist())
        said = probabilities(network(batch)).detach().numpy()
        maps = looked(network, batch, number).numpy()
        shown = (batch["frames"] if "frames" in batch else batch["clip"][:, 0]).numpy()
        maps = maps if "frames" in batch else maps[:, 0]
        for picture, weights, scores in zip(shown, maps, said, strict=True):
            guess = training.labels[int(scores.argmax())]
            large = picture.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
            png = overlay(large, weights)
            pictures.append(Picture(title=label, png=png, caption=f"{guess} ({scores.max():.2f})"))
    note = "Attention of the last layer, or Grad-CAM where the trunk has none; below, its answer."
    return Pictures(title="Where the network looked", pictures=pictures[: 2 * LOOKS], note=note)
