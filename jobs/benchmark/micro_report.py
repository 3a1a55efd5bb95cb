"""What leaving persons out has shown: results, a table by person, curves, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..evaluation.figures import Curves, Figure, Pictures, Rows
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import PREDICTIONS, of, predictions
from ..evaluation.results import anchors, measured
from .baselines import commonest, random_labels
from .comparisons import compared, tabled
from .loso import chosen, curve
from .micro_anchors import published
from .micro_pictures import shown
from .micro_samples import Samples

if TYPE_CHECKING:
    from .micro import Micro

METRICS = ("uf1", "uar", "accuracy")


@dataclass(kw_only=True)
class Findings:
    """All that was found, on the way to the report.

    Attributes:
        benchmark: What was asked.
        samples: The clips.
        split: As the predictions call it.
        said: Sentences about the data and the systems.
        folds: By system and person, the rows of `loso.FOLD`.
        predictions: Of each system.
        kinds: What each of them is.
    """

    benchmark: "Micro"
    samples: Samples
    split: str
    said: list[str]
    folds: dict[str, dict[str, pa.Table]] = field(default_factory=dict)
    predictions: dict[str, pa.Table] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, rows: pa.Table, kind: str = "system") -> None:
        """Take in a system's predictions."""
        self.predictions[name] = rows
        self.kinds[name] = "synthetic" if kind == "system" and self.benchmark.synthetic else kind


def report(found: Findings) -> Outcome:
    """Draw everything together."""
    benchmark, samples = found.benchmark, found.samples
    found.add("always " + commonest(_named(samples)), _always(found), kind="baseline")
    rows = pa.concat_tables(found.predictions.values(), promote_options="none")
    tables = [_results(found, rows, found.split), _chance(found, _named(samples), found.split)]
    for part in _parts(samples):  # of a composite
        split = f"{found.split}, {part}"
        mine = _of_part(rows, samples, part, split)
        labels = of(mine, mine["system"][0].as_py())["truth"].to_pylist()
        tables += [_results(found, mine, split), _chance(found, labels, split)]
    if not benchmark.synthetic:
        tables.append(anchors(benchmark.name, published(benchmark.data), split=found.split))
    return Outcome(
        title=benchmark.title + (" (layout only: synthetic clips)" if benchmark.synthetic else ""),
        benchmark=benchmark.name,
        labels=benchmark.labels,
        headline=benchmark.headline,
        predictions=rows,
        results=pa.concat_tables(tables),
        notes=_notes(found),
        figures=list(_figures(found, rows)),
    )


def _named(samples: Samples) -> list[str]:
    return [samples.labels[i] for i in samples.truth]


def _parts(samples: Samples) -> list[str]:
    """The data sets of a composite; none where there is one only."""
    parts = list(dict.fromkeys(samples.parts.tolist()))
    return parts if len(parts) > 1 else []


def _of_part(rows: pa.Table, samples: Samples, part: str, split: str) -> pa.Table:
    ids = pa.array(samples.ids[samples.parts == part].tolist(), pa.string())
    mine = rows.filter(pc.is_in(rows["id"], ids))
    at = PREDICTIONS.get_field_index("split")
    return mine.set_column(at, PREDICTIONS.field("split"), pa.array([split] * len(mine)))


def _always(found: Findings) -> pa.Table:
    """The commonest label for every clip."""
    samples, truth = found.samples, _named(found.samples)
    return predictions(
        benchmark=found.benchmark.name,
        system="always " + commonest(truth),
        split=found.split,
        fold=samples.subjects.tolist(),
        ids=samples.ids.tolist(),
        groups=samples.subjects.tolist(),
        truth=truth,
        predicted=[commonest(truth)] * len(samples),
    )


def _results(found: Findings, rows: pa.Table, split: str) -> pa.Table:
    systems = found.benchmark.systems
    return measured(
        found.benchmark.name,
        rows,
        labels=found.benchmark.labels,
        inputs={name: _inputs(name, systems) for name in found.kinds},
        kinds=found.kinds,
        metrics=METRICS,
        split=split,
        notes={name: _note(name, found) for name in found.kinds},
    )


def _inputs(name: str, systems: Mapping[str, object]) -> str:
    known = next((one for key, one in systems.items() if name.startswith(key)), None)
    return getattr(known, "inputs", "none")


def _note(name: str, found: Findings) -> str:
    if found.kinds[name] == "baseline":
        return "the commonest label for every clip"
    if found.kinds[name] == "oracle":
        return "the epoch that is most accurate on the held-out person: no result"
    system = found.benchmark.systems[name]
    if system.epochs == 1:
        return ""
    choice = found.benchmark.folding.choice
    after = f"after epoch {system.epochs}" if choice == "fixed" else "epoch chosen in training"
    origin = system.origin()
    return f"{after}; backbone: {'random weights' if origin == 'random' else origin}"


def _chance(found: Findings, truth: Sequence[str], split: str) -> pa.Table:
    benchmark = found.benchmark
    return random_labels(
        benchmark.name,
        truth,
        _named(found.samples),
        labels=benchmark.labels,
        metrics=METRICS,
        split=split,
    )


def _notes(found: Findings) -> list[str]:
    """The protocol, a sentence each."""
    benchmark, samples = found.benchmark, found.samples
    folding, people = benchmark.folding, len(set(samples.subjects.tolist()))
    sizes = np.bincount(samples.truth, minlength=len(samples.labels))
    by_label = list(zip(samples.labels, sizes.tolist(), strict=True))
    counts = ", ".join(f"{label} {count}" for label, count in by_label)
    epoch = (
        "Each system is taken after its last epoch, for everybody."
        if folding.choice == "fixed"
        else f"The epoch is the best on training persons, held out in {folding.inner} groups."
    )
    lines = [
        f"{len(samples)} clips of {people} persons ({counts}), each person left out once.",
        "UF1 and UAR are of the answers of all folds together; intervals redraw persons.",
    ]
    lines += [
        f"There is no clip of {label}: it counts as 0 in UF1 and UAR."
        for label, count in by_label
        if not count
    ]
    if "oracle" in found.kinds.values():
        lines.append(epoch)
        lines.append(
            "Oracle rows take, for each person, the epoch that is best on that very person, as "
            "much published code does: what they gain over the row beside them is selection."
        )
    if not benchmark.synthetic:
        lines.append("Anchors were judged under their authors' protocols; see the note of each.")
    if benchmark.synthetic:
        lines.append("The clips are generated: the numbers say that the code runs, and no more.")
    return [*lines, *benchmark.notes, *found.said]


def _figures(found: Findings, rows: pa.Table) -> list[Figure]:
    figures: list[Figure] = [_people(found, rows)]
    systems = [name for name, kind in found.kinds.items() if kind in ("system", "synthetic")]
    if len(systems) > 1:
        pairs = [
            compared(rows, a, b, found.benchmark.labels, found.benchmark.headline)
            for i, a in enumerate(systems)
            for b in systems[i + 1 :]
        ]
        figures.append(
            Rows(
                title=f"Do systems differ ({found.benchmark.headline})?",
                table=tabled(pairs),
                note="Bootstrap of persons; McNemar's exact test, adjusted for all pairs.",
            )
        )
    for name in systems:
        figures += _curve(found, name) + _pictures(found, name)
    return figures


def _people(found: Findings, rows: pa.Table) -> Rows:
    """Right answers by person."""
    lines = []
    for person in sorted(set(found.samples.subjects.tolist())):
        mine = rows.filter(pc.equal(rows["group"], person))
        line: dict[str, object] = {"person": person}
        for name in found.predictions:
            one = of(mine, name)
            line["clips"] = len(one)
            line[name] = pc.mean(pc.equal(one["truth"], one["predicted"])).as_py()
        lines.append(line)
    return Rows(title="Accuracy by person", table=pa.Table.from_pylist(lines))


def _curve(found: Findings, name: str) -> list[Figure]:
    """What held-out persons' scores do over the epochs: what the oracle picks from."""
    epochs = found.benchmark.systems[name].epochs
    if epochs == 1:
        return []
    samples = found.samples
    truth = dict(zip(samples.ids.tolist(), samples.truth.tolist(), strict=True))
    lines = {
        metric: curve(found.folds[name], truth, len(samples.labels), metric)
        for metric in ("uf1", "uar")
    }
    return [
        Curves(
            title=f"{name}: held-out persons, epoch by epoch",
            x=list(range(1, epochs + 1)),
            lines=lines,
            x_name="epoch",
            y_name="UF1, UAR",
            note="Nothing is chosen by these curves; the oracle chooses by each person's own.",
        )
    ]


def _pictures(found: Findings, name: str) -> list[Figure]:
    taken = pa.concat_tables([chosen(one) for one in found.folds[name].values()])
    pictures = shown(found.samples, taken, found.benchmark.pictures)
    if not pictures:
        return []
    return [
        Pictures(
            title=f"{name}: apex, flow, attention",
            pictures=pictures,
            note="Apex; flow from onset (red) and offset (green) to it; Grad-CAM of both branches' "
            "last layers for the class that was given, over the apex. Green frame: right; red: "
            "wrong.",
        )
    ]
