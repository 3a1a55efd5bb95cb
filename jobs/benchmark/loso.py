"""Leave-one-subject-out: each person is judged by what was learnt from all others.

After which epoch a system is taken decides the number. Fixed: the last, for everybody. Inner: the
best on persons of the training side, held out in turn. Oracle: the best on the very person who is
judged, as much published code does; it is shown beside the others to say how much that alone gains.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from ..evaluation.scores import METRICS
from .micro_samples import Samples

Choice = Literal["fixed", "inner"]

FOLD = pa.schema(
    {
        "epoch": pa.int32(),  # from 1
        "id": pa.string(),
        "scores": pa.list_(pa.float32()),  # by class; the highest is the answer
        "chosen": pa.bool_(),  # whether the protocol takes this epoch
        "attention": pa.binary(),  # PNG, grey; of the chosen epoch, where a system has it
        "areas": pa.list_(pa.float32()),  # mean weight of eyes and mouth; likewise
    }
)
"""What a fold leaves: each held-out clip once for each epoch."""


class Seen(NamedTuple):
    """Where a system looked, clip by clip.

    Attributes:
        attention: PNG, grey, of each.
        areas: Mean weight of eyes and of mouth, `(n, 2)`.
    """

    attention: list[bytes]
    areas: NDArray[np.float32]


class Step(NamedTuple):
    """A system after an epoch.

    Attributes:
        scores: Of the clips to judge, `(n, classes)`.
        look: Says where it looked; `None`: it cannot.
    """

    scores: NDArray[np.float32]
    look: Callable[[], Seen] | None = None


class System(Protocol):
    """Something that learns to tell clips apart. Two of the same fields are the same system."""

    @property
    def epochs(self) -> int:
        """How often it is judged."""
        ...

    @property
    def inputs(self) -> str:
        """What it is given."""
        ...

    @property
    def probable(self) -> bool:
        """Whether its scores are probabilities."""
        ...

    def missing(self) -> str | None:
        """Why it cannot work here, and the cure; `None` where it can."""
        ...

    def origin(self) -> str:
        """Where weights that it starts from come from; empty: it has none."""
        ...

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        """Learn from some clips and judge others, once after each epoch."""
        ...


@dataclass(frozen=True, kw_only=True)
class Folding:
    """How persons are left out.

    Attributes:
        choice: `fixed` or `inner`; see the module.
        inner: Groups of training persons that are held out in turn, to choose the epoch or to tune.
        metric: That decides there: a key of `scores.METRICS`.
        seed: Of all that is random.
    """

    choice: Choice = "fixed"
    inner: int = 3
    metric: str = "uf1"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.choice not in ("fixed", "inner"):
            raise ValueError(f"`choice` must be fixed or inner, but is {self.choice!r}.")
        if self.inner < 2:
            raise ValueError(f"`inner` must be at least 2, but is {self.inner}.")
        if self.metric not in METRICS:
            raise ValueError(f"`metric` must be one of {list(METRICS)}, but is {self.metric!r}.")

    def seed_of(self, held: str) -> int:
        """Of a fold: the same whichever folds were done before."""
        return int(np.random.default_rng([self.seed, *held.encode()]).integers(2**31))

    def within(self, system: System, learn: Samples, seed: int) -> Iterator[float]:
        """The metric on training persons who are held out in turn, pooled, after each epoch.

        Raises:
            ValueError: There is only one of them.
        """
        people = np.unique(learn.subjects)
        if len(people) < 2:
            raise ValueError(
                f"choosing on training persons needs at least 2 of them, but there is only "
                f"{str(people[0])!r}: take `benchmark.folding.choice=fixed`, or more persons."
            )
        folds = GroupKFold(min(self.inner, len(people))).split(people, groups=people)
        splits = [learn.split(people[out].tolist()) for _, out in folds]
        truth = np.concatenate([judge.truth for _, judge in splits])
        for steps in zip(*(system.steps(a, b, seed) for a, b in splits), strict=True):
            answers = np.concatenate([step.scores.argmax(1) for step in steps])
            yield float(METRICS[self.metric](counts(truth, answers, len(learn.labels))))


class Job(NamedTuple):
    """What all folds have in common."""

    system: System
    samples: Samples
    folding: Folding


def left_out(held: str, job: Job) -> pa.Table:
    """Leave one person out.

    Returns:
        Rows of `FOLD`.
    """
    system, samples, folding = job
    learn, judge = samples.split([held])
    seed = folding.seed_of(held)
    best = system.epochs
    if folding.choice == "inner" and system.epochs > 1:
        best = int(np.argmax(list(folding.within(system, learn, seed)))) + 1  # the first of several
    tables = []
    for epoch, step in enumerate(system.steps(learn, judge, seed), start=1):
        seen = step.look() if epoch == best and step.look else None
        tables.append(
            pa.table(
                {
                    "epoch": [epoch] * len(judge),
                    "id": judge.ids.tolist(),
                    "scores": list(step.scores),
                    "chosen": [epoch == best] * len(judge),
                    "attention": seen.attention if seen else [None] * len(judge),
                    "areas": list(seen.areas) if seen else [None] * len(judge),
                },
                schema=FOLD,
            )
        )
    return pa.concat_tables(tables)


def counts(truth: NDArray, answers: NDArray, classes: int) -> NDArray[np.int64]:
    """The confusion of class indices, a row for each true class."""
    return np.bincount(truth * classes + answers, minlength=classes**2).reshape(classes, classes)


def chosen(done: pa.Table) -> pa.Table:
    """Of a fold, the epoch that the protocol takes."""
    return done.filter(done["chosen"])


def oracle(done: pa.Table, truth: Mapping[str, int]) -> pa.Table:
    """Of a fold, the epoch that is most accurate on the held-out person; the first of several."""
    right = answers(done) == np.array([truth[name] for name in done["id"].to_pylist()])
    epochs = done["epoch"].to_numpy()
    hits = np.bincount(epochs, weights=right)
    return done.filter(pc.equal(done["epoch"], int(np.argmax(hits[1:])) + 1))


def answers(done: pa.Table) -> NDArray[np.int64]:
    """The class that each row gives."""
    return np.array(done["scores"].to_pylist(), np.float32).argmax(axis=1)


def curve(
    done: Mapping[str, pa.Table], truth: Mapping[str, int], classes: int, metric: str
) -> Sequence[float]:
    """A metric on all held-out persons together, after each epoch."""
    rows = pa.concat_tables(done.values())
    epochs, said = rows["epoch"].to_numpy(), answers(rows)
    known = np.array([truth[name] for name in rows["id"].to_pylist()])
    return [
        float(METRICS[metric](counts(known[epochs == epoch], said[epochs == epoch], classes)))
        for epoch in np.unique(epochs)
    ]
