"""Train the arousal head that is shipped as actors/arousal.npz, and say how good it is.

    python benchmarks/train_arousal.py ../shared/data/speech_emotion/emodb

The data are EmoDB (Burkhardt et al. 2005; CC0), any folder with its `labels.csv`. High arousal is
anger, fear and happiness; low is boredom, disgust, neutral and sadness: the mapping of Schuller et
al. 2009 ("Acoustic emotion recognition: a benchmark comparison of performances", ASRU).

Each clip is learnt as recorded and in `COPIES` degraded copies (another microphone's colour, a
telephone's band, noise), so that a studio's sound is not taken for calm. Everything is seeded:
the same data give the same head.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.actors.arousal import HEAD
from mien.actors.functionals import NAMES, functionals
from mien.actors.pitch import Floats, Yin
from mien.actors.sound import Samples
from mien.datasets.audio import read

HIGH = ("anger", "fear", "happiness")
COPIES = 4
STRENGTHS = (0.003, 0.006, 0.02, 0.06)
STRENGTH = 0.02
"""Inverse regularisation of the shipped head."""
RATE_HZ = 16000


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """EmoDB as features.

    Attributes:
        features: `(1 + COPIES, clip, feature)`; the first as recorded, the others degraded.
        emotion: `(clip,)`.
        speaker: `(clip,)`.
    """

    features: Floats
    emotion: NDArray[np.str_]
    speaker: NDArray[np.str_]

    @property
    def high(self) -> NDArray[np.bool_]:
        """`(clip,)`, whether the emotion is of high arousal."""
        return np.isin(self.emotion, HIGH)


def load(folder: Path) -> Corpus:
    """Read EmoDB and describe each clip, as recorded and degraded."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = list(csv.DictReader(file))
    yin = Yin()
    described = []
    for index, label in enumerate(labels):
        samples = read(str(folder / label["file"]))
        if samples is None:
            raise ValueError(f"`{label['file']}` must have sound, but has none.")
        rng = np.random.default_rng(index)
        copies = [samples, *(degrade(samples, rng) for _ in range(COPIES))]
        described.append([functionals(copy, yin) for copy in copies])
    features = np.array(described, dtype=float).swapaxes(0, 1)
    return Corpus(
        features=features,
        emotion=np.array([label["emotion"] for label in labels]),
        speaker=np.array([label["speaker"] for label in labels]),
    )


def degrade(samples: Samples, rng: np.random.Generator) -> Samples:
    """Colour (a tilt of +-3 dB per octave, ripples of +-4 dB), sometimes cut highs, add noise."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    octave = np.log2(np.maximum(hz, 60) / 1000)
    ripple_db = np.interp(octave, np.linspace(-4, 3, 8), rng.uniform(-4, 4, 8))
    spectrum *= 10 ** ((rng.uniform(-3, 3) * octave + ripple_db) / 20)
    if rng.random() < 0.4:
        spectrum *= hz < rng.uniform(3500, 7500)
    clean = np.fft.irfft(spectrum, len(samples))
    white = np.fft.rfft(rng.normal(size=len(samples)))
    noise = np.fft.irfft(white * 10 ** (-rng.uniform(0, 6) * octave / 20), len(samples))
    noise_db = rng.uniform(12, 45)
    gain = np.sqrt((clean**2).mean() / (noise**2).mean() / 10 ** (noise_db / 10))
    return (clean + gain * noise).astype(np.float32)


def fit(corpus: Corpus, chosen: NDArray[np.bool_], strength: float) -> tuple[Floats, ...]:
    """Fit on some clips, with their copies: mean, scale, weight and bias."""
    known = corpus.features[:, chosen]
    mean = np.nanmean(known, axis=(0, 1))
    filled = np.where(np.isnan(known), mean, known).reshape(-1, known.shape[-1])
    mean, scale = filled.mean(axis=0), filled.std(axis=0)
    head = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    head.fit((filled - mean) / scale, np.tile(corpus.high[chosen], len(known)))
    return mean, scale, np.ravel(head.coef_), np.ravel(head.intercept_)[0]


def logits(features: Floats, head: tuple[Floats, ...]) -> Floats:
    """Log odds of high arousal."""
    mean, scale, weight, bias = head
    return np.nan_to_num((features - mean) / scale) @ weight + bias


def held_out(corpus: Corpus, strength: float | None) -> Floats:
    """Judge each speaker by a head that never heard them.

    Args:
        corpus: The data.
        strength: Inverse regularisation; `None` chooses it anew among the other speakers.

    Returns:
        Log odds, `(1 + COPIES, clip)`.
    """
    odds = np.zeros(corpus.features.shape[:2])
    for speaker in np.unique(corpus.speaker):
        tested = corpus.speaker == speaker
        best = strength or choose(_without(corpus, tested))
        odds[:, tested] = logits(corpus.features[:, tested], fit(corpus, ~tested, best))
    return odds


def choose(corpus: Corpus) -> float:
    """The strength with the least held-out Brier score, over clips and copies."""
    truth = np.tile(corpus.high, 1 + COPIES)
    scores = [
        brier_score_loss(truth, 1 / (1 + np.exp(-held_out(corpus, s).ravel()))) for s in STRENGTHS
    ]
    return STRENGTHS[int(np.argmin(scores))]


def _without(corpus: Corpus, out: NDArray[np.bool_]) -> Corpus:
    return Corpus(
        features=corpus.features[:, ~out],
        emotion=corpus.emotion[~out],
        speaker=corpus.speaker[~out],
    )


def calibration(odds: Floats, truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Platt's slope and offset for held-out log odds, both classes weighing the same."""
    model = LogisticRegression(C=1e6, class_weight="balanced").fit(odds.reshape(-1, 1), truth)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def seven_classes(corpus: Corpus) -> float:
    """Unweighted average recall of the seven emotions, each speaker held out."""
    answers = corpus.emotion.copy()
    for speaker in np.unique(corpus.speaker):
        tested = corpus.speaker == speaker
        known = corpus.features[:, ~tested]
        mean = np.nanmean(known, axis=(0, 1))
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.02, class_weight="balanced", max_iter=5000)
        ).fit(
            np.where(np.isnan(known), mean, known).reshape(-1, known.shape[-1]),
            np.tile(corpus.emotion[~tested], len(known)),
        )
        asked = corpus.features[0, tested]
        answers[tested] = model.predict(np.where(np.isnan(asked), mean, asked))
    return float(balanced_accuracy_score(corpus.emotion, answers))


def scores(corpus: Corpus) -> dict[str, float]:
    """How good the head is on speakers it never heard (leave one speaker out)."""
    odds, chosen = held_out(corpus, STRENGTH), held_out(corpus, None)
    slope, offset = calibration(odds.ravel(), np.tile(corpus.high, 1 + COPIES))
    share = 1 / (1 + np.exp(-(slope * odds + offset)))

    def balanced(log_odds: Floats) -> float:
        return float(balanced_accuracy_score(corpus.high, log_odds > 0))

    return {
        "balanced_accuracy": balanced(odds[0]),
        "balanced_accuracy_nested": balanced(chosen[0]),
        "balanced_accuracy_degraded": float(np.mean([balanced(copy) for copy in odds[1:]])),
        "brier": float(brier_score_loss(corpus.high, share[0])),
        "uar_7": seven_classes(corpus),
        **{
            f"speaker_{s}": float(
                balanced_accuracy_score(
                    corpus.high[corpus.speaker == s], odds[0, corpus.speaker == s] > 0
                )
            )
            for s in np.unique(corpus.speaker)
        },
        **{
            f"high_share_{e}": float((odds[0, corpus.emotion == e] > 0).mean())
            for e in np.unique(corpus.emotion)
        },
    }


def train(corpus: Corpus) -> dict[str, NDArray[np.generic]]:
    """The shipped arrays: fitted on all speakers, calibrated on held-out log odds."""
    mean, scale, weight, bias = fit(corpus, np.ones(len(corpus.emotion), bool), STRENGTH)
    truth = np.tile(corpus.high, 1 + COPIES)
    slope, offset = calibration(held_out(corpus, STRENGTH).ravel(), truth)
    return {
        "names": np.array(NAMES),
        "mean": np.asarray(mean),
        "scale": np.asarray(scale),
        "weight": slope * np.asarray(weight),
        "bias": np.asarray(slope * bias + offset),
    }


def main() -> None:
    """Train, print how good it is, write the head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("emodb", type=Path)
    parser.add_argument("--out", type=Path, default=HEAD)
    options = parser.parse_args()
    corpus = load(options.emodb)
    found = scores(corpus)
    print("\n".join(f"{name:28} {value:.3f}" for name, value in found.items()))
    head = train(corpus) | {"held_out_balanced_accuracy": np.asarray(found["balanced_accuracy"])}
    np.savez(options.out, allow_pickle=False, **head)


if __name__ == "__main__":
    main()
