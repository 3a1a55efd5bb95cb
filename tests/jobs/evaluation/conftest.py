from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from mien.jobs.evaluation.figures import Confusion, Curves, Picture, Pictures, Rows
from mien.jobs.evaluation.outcome import Outcome
from mien.jobs.evaluation.predictions import predictions
from mien.jobs.evaluation.results import Anchor, anchors, measured

LABELS = ("neutral", "joy", "fear")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """Makes an outcome of generated answers; words of it are hostile where it is asked for."""

    def make(
        word: str = "plain",
        *,
        right: float = 0.7,
        kinds: dict[str, str] | None = None,
        split: str = "dev",
        benchmark: str = "meld",
    ) -> Outcome:
        random = np.random.default_rng(0)
        truth = random.choice(LABELS, 60).tolist()

        def answers(name: str, share: float) -> pa.Table:
            given = [t if random.random() < share else random.choice(LABELS) for t in truth]
            return predictions(
                benchmark=benchmark,
                system=name,
                split=split,
                fold=split,
                ids=[str(i) for i in range(60)],
                groups=[f"d{i // 6}" for i in range(60)],
                truth=truth,
                predicted=given,
            )

        table = pa.concat_tables([answers(f"words {word}", right), answers("always", 0.0)])
        results = measured(
            benchmark,
            table,
            labels=LABELS,
            inputs={f"words {word}": f"T {word}"},
            kinds={"always": "baseline", **(kinds or {})},
            metrics=["weighted_f1", "accuracy"],
            split=split,
            resamples=50,
        )
        published = Anchor(
            system=f"TelME {word}",
            metric="weighted_f1",
            value=0.6737,
            inputs="T+A+V",
            source=f"Yun et al. {word}",
            date="2024",
        )
        return Outcome(
            title=f"MELD {word}",
            benchmark=benchmark,
            labels=LABELS,
            headline="weighted_f1",
            predictions=table,
            results=pa.concat_tables([results, anchors(benchmark, [published], split)]),
            notes=[f"Chosen on dev. {word}"],
            figures=[
                Curves(title=f"Loss {word}", x=[1, 2], lines={f"train {word}": [1.0, 0.5]}),
                Confusion(title=word, labels=[word], matrix=np.array([[3]])),
                Pictures(title=word, pictures=[Picture(title=word, png=PNG + b"x", caption=word)]),
                Rows(title=word, table=pa.table({word: [word], "p": [0.25]}), note=word),
            ],
        )

    return make
