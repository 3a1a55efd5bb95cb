"""The contract of every actor."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa

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
    """

    reads: ClassVar[tuple[str, ...]]
    """Columns that `process` needs."""
    adds: ClassVar[pa.Schema]
    """Columns that `process` returns, with their types."""
    version: ClassVar[int] = 1
    """Raised when the same parameters come to give another answer: part of the table's hash."""
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

    def missing(self) -> str | None:
        """Why this actor cannot work on this machine, and the cure; `None` where it can.

        Cheap: it looks for packages and files, it loads nothing.
        """
        absent = [name for name in self.packages if find_spec(name) is None]
        if not absent:
            return None
        return f"needs the package {', '.join(absent)}: `make setup` installs the full environment"

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

    def close(self) -> None:
        """Release what `setup` took. Called once per worker, after the last rows."""

    def provenance(self) -> dict[str, str]:
        """Model, revision and licence: of the model at hand, where an actor can take several."""
        own = self.identity()
        return {
            "model": own["model"] or self.model,
            "revision": own["revision"] or self.revision,
            "licence": self.licence,
        }

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the class, its version, model, and all non-machine fields."""
        return {
            "actor": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": self.version,
            "model": self.model,
            "revision": self.revision,
            **{f.name: getattr(self, f.name) for f in fields(self) if "machine" not in f.metadata},
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
