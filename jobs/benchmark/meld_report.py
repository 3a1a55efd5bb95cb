"""What MELD comes to: results beside baselines and anchors, tests between systems, the protocol."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ...datasets.meld import SENTIMENTS
from ..evaluation.figures import Bar, Bars, Figure, Rows
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import PREDICTIONS, predictions, systems
from ..evaluation.results import anchors, measured
from . import baselines
from .comparisons import additions, compared, hypothesis, tabled
from .meld_anchors import ANCHORS
from .meld_findings import Findings, protocol
from .meld_systems import TEST, TRAIN
from .profile_text import ProfileText

METRICS = ("weighted_f1", "macro_f1", "accuracy")


def report(findings: Findings) -> Outcome:
    """Judge what was said."""
    split, labels = findings.systems.held, findings.systems.labels
    kinds = _baselines(findings)
    said = pa.concat_tables(findings.parts)
    terms = {
        "labels": labels,
        "inputs": findings.inputs,
        "kinds": kinds,
        "metrics": METRICS,
        "notes": _remarks(findings),
    }
    results = [
        measured("meld", said, split=split, **terms),
        baselines.random_labels(
            "meld",
            findings.held["emotion"].to_pylist(),
            findings.train["emotion"].to_pylist(),
            labels=labels,
            metrics=METRICS,
            split=split,
        ),
        anchors("meld", ANCHORS, split=TEST),
    ]
    strangers = _strangers(findings, said)
    if len(strangers):
        unseen = strangers["split"][0].as_py()
        results.append(measured("meld", strangers, split=unseen, **terms))
    if findings.profile is not None:
        results.append(_sentiment(findings, findings.profile))
    return Outcome(
        title="MELD: seven emotions of an utterance",
        benchmark="meld",
        labels=labels,
        headline=findings.systems.metric,
        predictions=said,
        results=pa.concat_tables(results),
        notes=[*protocol(findings), *_hypotheses(findings, said)],
        figures=list(_figures(findings, said, results[0])),
    )


def _baselines(findings: Findings) -> dict[str, str]:
    """Add what needs no look at the words; returns the kind of each."""
    train, held = findings.train, findings.held
    truth, usual = train["emotion"].to_pylist(), findings.usual
    speakers = baselines.by_key(train["speaker"].to_pylist(), truth, held["speaker"].to_pylist())
    found = {
        f"always {usual}": ([usual] * len(held), "none"),
        "commonest of the speaker": (speakers, "speaker"),
    }
    for name, (said, inputs) in found.items():
        findings.add(_rows(findings, name, said), inputs)
    return dict.fromkeys(found, "baseline")


def _rows(findings: Findings, system: str, said: list[str]) -> pa.Table:
    held, split = findings.held, findings.systems.held
    return predictions(
        benchmark="meld",
        system=system,
        split=split,
        fold=split,
        ids=held["id"].to_pylist(),
        groups=held["group"].to_pylist(),
        truth=held["emotion"].to_pylist(),
        predicted=said,
    )


def _strangers(findings: Findings, said: pa.Table) -> pa.Table:
    """What was said of rows whose speaker train does not know."""
    held = findings.held
    known = pc.is_in(held["speaker"], findings.train["speaker"].combine_chunks())
    ids = held.filter(pc.invert(known))["id"].combine_chunks()
    rows = said.filter(pc.is_in(said["id"], ids))
    name = f"{findings.systems.held}, speakers unknown to train"
    place = PREDICTIONS.get_field_index("split")
    return rows.set_column(place, "split", pa.array([name] * len(rows), pa.string()))


def _sentiment(findings: Findings, profile: ProfileText) -> pa.Table:
    """The three sentiments that a polarity gives, which knows no emotions."""
    held, split = findings.held, f"{findings.systems.held}, three sentiments"
    usual = baselines.commonest(findings.train["sentiment"].to_pylist())
    systems = {f"{profile.model}, untrained": profile.sentiment, f"always {usual}": None}
    rows = [
        predictions(
            benchmark="meld",
            system=name,
            split=split,
            fold=split,
            ids=held["id"].to_pylist(),
            groups=held["group"].to_pylist(),
            truth=held["sentiment"].to_pylist(),
            predicted=[usual] * len(held) if said is None else said,
        )
        for name, said in systems.items()
    ]
    return measured(
        "meld",
        pa.concat_tables(rows),
        labels=SENTIMENTS,
        inputs={f"{profile.model}, untrained": "text"},
        kinds={f"always {usual}": "baseline"},
        metrics=METRICS,
        split=split,
    )


def _remarks(findings: Findings) -> dict[str, str]:
    """A note on each system, for the tables."""
    where = "cross-validated in train" if findings.systems.chosen_on == TRAIN else "on dev"
    found = {name: f"{merit:.3f} {where}" for name, merit in findings.merits.items()}
    for name, way in findings.ways.items():
        found[name] = f"{found[name]}; way: {way}"
    if findings.chosen in found:
        found[findings.chosen] += "; chosen there"
    for one in findings.asked:
        failed = ", ".join(f"{count} {reason}" for reason, count in one.answers.failed.items())
        paid = "" if one.answers.dollars is None else f", {one.answers.dollars:.2f} dollars"
        found[one.system] = f"{one.answers.answered_by}{paid}" + f"; failed: {failed}" * bool(
            failed
        )
    return found


def _figures(findings: Findings, said: pa.Table, results: pa.Table) -> Iterator[Figure]:
    split, metric = findings.systems.held, findings.systems.metric
    if len(findings.names) > 1:
        own = {row["system"]: row for row in results.to_pylist() if row["metric"] == metric}
        fused = dict.fromkeys([*findings.subsets.values(), *findings.equal.values()])
        yield Bars(
            title=f"Subsets of the modalities on {split}",
            bars=[
                Bar(name=name, **{key: own[name][key] for key in ("value", "low", "high", "note")})
                for name in fused
            ],
            x_name=metric.replace("_", " "),
        )
    names, chosen = systems(said), findings.chosen
    pairs = [(chosen, name) for name in names if chosen and name != chosen]
    pairs += [(whole, rest) for _, whole, rest in additions(findings.subsets)]
    pairs = list({frozenset(pair): pair for pair in reversed(pairs)}.values())[::-1]
    if pairs:
        yield Rows(
            title=f"Pairs of systems on {split}",
            table=tabled([compared(said, a, b, findings.systems.labels, metric) for a, b in pairs]),
            note=(
                f"a - b: difference of the {metric.replace('_', ' ')}, paired bootstrap of whole "
                "dialogues, 95 % interval. p: McNemar's exact test on rows, which takes them as "
                "independent; adjusted for all pairs of this table by Holm."
            ),
        )


def _hypotheses(findings: Findings, said: pa.Table) -> Iterator[str]:
    """Whether a modality degrades what the text alone says."""
    labels, metric = findings.systems.labels, findings.systems.metric
    for modality in ("audio", "face"):
        pair = ("text", modality)
        if pair not in findings.subsets:
            if modality == "audio":
                yield (
                    "“Audio degrades fusion” was not tested: it needs the modalities text and "
                    "audio, hence the clips."
                )
            continue
        for way, named in (("", findings.subsets), (", with equal weights", findings.equal)):
            found = compared(said, named[pair], named["text",], labels, metric)
            yield hypothesis(f"{modality.capitalize()} degrades fusion{way}", found)
