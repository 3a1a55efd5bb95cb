"""The contract of every actor."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from .packages import absent, cure

if TYPE_CHECKING:
    from .weights import Weights

MACHINE: Mapping[str, bool] = {"machine": True}
"""Marks a field that changes how fast an actor runs, not what it answers."""


@dataclass(kw_only=True)
class Actor(ABC):
    """One step of the analysis: reads some columns of a row, adds others.

    An actor is its parameters: building one is cheap and touches no disk and no device, so that
    the driver can check a run before any worker starts. Models load in `setup`, once per worker.
    It knows neither Ray nor Hydra: `actor.setup(); actor.process(table)` works in a plain shell.

    Attributes:
        cpus: Cores that one worker holds; may be fractional.
        gpus: Devices that one worker holds; a fraction (1/k) lets several share one.
        memory_gb: What one worker needs, declared or measured.
        batch_size: Rows per call of `process`.
        environment: Name of the Python environment that it runs in, of those that
            `cluster.environments` lists; `None`: the one that runs everything else.
    """

    reads: ClassVar[tuple[str, ...]]
    """Columns that `process` needs."""
    adds: ClassVar[pa.Schema]
    """Columns that `process` returns, with their types."""
    passes: ClassVar[tuple[str, ...]] = ()
    """Columns of `adds` that are for the actors after it alone and do not stand in the table."""
    version: ClassVar[int] = 1
    """Raised when the same parameters come to give another answer: part of the table's hash."""
    remote: ClassVar[bool] = False
    """Whether a service elsewhere does the work, perhaps for money: it is never asked on trial."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Importable names beyond the small default environment; see `missing`."""
    model: ClassVar[str] = ""
    """What does the work, for the provenance columns."""
    revision: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    quality: ClassVar[str] = ""
    """How good it is, in one sentence with a measured number; shown on the page."""

    cpus: float = field(default=1.0, metadata=MACHINE)
    gpus: float = field(default=0.0, metadata=MACHINE)
    memory_gb: float = field(default=1.0, metadata=MACHINE)
    batch_size: int = field(default=1, metadata=MACHINE)
    environment: str | None = field(default=None, metadata=MACHINE)

    def missing(self) -> str | None:
        """Why this actor cannot work on this machine, and the cure; `None` where it can.

        Cheap: it looks for packages and files, it loads nothing.
        """
        lacking = absent(self.packages) if self.environment is None else []
        reasons = [weights.missing() for weights in self.weights()]
        if lacking:
            reasons.insert(0, f"needs the package {', '.join(lacking)}: {cure(lacking)}")
        return "; ".join(reason for reason in reasons if reason) or None

    def weights(self) -> "tuple[Weights, ...]":
        """All weights that `setup` loads: by default the fields that are such."""
        from .weights import Weights

        values = (getattr(self, f.name) for f in fields(self))
        return tuple(value for value in values if isinstance(value, Weights))

    def setup(self) -> None:
        """Load what `process` needs. Called once per worker, before the first rows."""

    @abstractmethod
    def process(self, rows: pa.Table) -> pa.Table:
        """Compute the columns of `adds` for some rows.

        Args:
            rows: Has at least the columns of `reads`; only rows that have not failed yet.

        Returns:
            The columns of `adds` alone, one row for each row of `rows`, in the same order.

        Raises:
            Exception: Any; the rows at fault are found by bisection, and only they fail. An
                expected absence (no sound, no face) is a null or empty result, not an error.
        """

    def forget(self) -> None:
        """Drop what is kept of rows that came before, so that `mien profile` times the work."""

    def close(self) -> None:
        """Release what `setup` took. Called once per worker, after the last rows."""

    def provenance(self) -> dict[str, str]:
        """Model, revision and licence: of the model at hand, where an actor can take several."""
        own = [weights.identity() for weights in self.weights()] or [self.identity()]
        licences = dict.fromkeys(weights.licence for weights in self.weights())
        return {
            "model": " + ".join(one["model"] for one in own if one["model"]) or self.model,
            "revision": " + ".join(one["revision"] for one in own if one["revision"])
            or self.revision,
            "licence": " + ".join(licences) or self.licence,
        }

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the class, its version, model, and all non-machine fields."""
        from .weights import Weights

        values = {
            f.name: getattr(self, f.name) for f in fields(self) if "machine" not in f.metadata
        }
        return {
            "actor": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": self.version,
            "model": self.model,
            "revision": self.revision,
            **{
                name: value.identity() if isinstance(value, Weights) else value
                for name, value in values.items()
            },
        }


def answer(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Build a table of `schema` from Python lists, one list of values per column.

    Args:
        columns: Values by column name; a column that is left out is null.
        schema: Usually the actor's `adds`.
    """
    count = len(next(iter(columns.values())))
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise KeyError(f"no column {sorted(unknown)} in the schema ({schema.names}).")
    return pa.table(
        {
            f.name: pa.array(columns.get(f.name, [None] * count), type=f.type, from_pandas=True)
            for f in schema
        },
        schema=schema,
    )
