"""Phases: a chain of actors whose answers stand in one table."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace

import pyarrow as pa

from ..datasets import schema
from ..datasets.store import Place
from ..datasets.table import Table, table_schema
from .host import Stage


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A chain of actors whose answers stand in one table.

    Attributes:
        name: Of the table.
        stages: The chain, in order.
        upstream: Hashes of the phases whose tables the manifest is made from.
        keeps: Columns of the manifest that stand in the table, beside the key.
        rows_from: What else decides which rows there are, for example how a video is cut.
        folder: Where in the run's folder its table stands.
    """

    name: str
    stages: tuple[Stage, ...]
    upstream: tuple[str, ...] = ()
    keeps: pa.Schema = field(default_factory=lambda: pa.schema([]))
    rows_from: object = None
    folder: str = "tables"

    @property
    def hash(self) -> str:
        """Names what changes the content: actors, models, schema, and all that came before."""
        content = {
            "schema": schema.VERSION,
            "stages": [{"role": s.role, **s.actor.identity()} for s in self.stages],
            "upstream": self.upstream,
            "rows_from": self.rows_from,
        }
        text = json.dumps(plain(content), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def table(self, run: Place) -> Table:
        """The phase's table in a run's folder."""
        columns: dict[str, pa.Field] = {f.name: f for f in self.keeps}
        for stage in self.stages:
            columns.update(
                {f.name: f for f in stage.actor.adds if f.name not in stage.actor.passes}
            )
        return Table(
            run / self.folder / f"{self.name}-{self.hash}",
            table_schema(pa.schema(columns.values())),
        )

    @property
    def prelude(self) -> tuple[Stage, ...]:
        """The first actors, as far as they only fetch columns for others: cheap to do again."""

        def fetches(stage: Stage) -> bool:
            actor = stage.actor
            return set(actor.adds.names) <= set(actor.passes) and not actor.weights()

        return tuple(itertools.takewhile(fetches, self.stages))

    def cut(self, count: int) -> "Phase":
        """The first actors of the chain as a phase of their own, whose table is only passed on.

        It holds what those actors add, as far as the table or an actor behind the cut reads it,
        and less what the prelude fetches: that is fetched again behind the cut. A chain that is
        cut elsewhere, or has other actors behind the cut, finds what stands.

        Args:
            count: How many actors stand before the cut.
        """
        first, later = self.stages[:count], self.stages[count:]
        wanted = {name for stage in later for name in stage.actor.reads}
        passed = {
            f.name: f
            for stage in first[len(self.prelude) :]
            for f in stage.actor.adds
            if f.name in stage.actor.passes and f.name in wanted
        }
        return replace(
            self,
            stages=first,
            keeps=pa.schema(passed.values()),
            rows_from={"rows_from": self.rows_from, "passed": sorted(passed)},
            folder="cuts",
        )

    def check(self, manifest: pa.Schema) -> None:
        """Refuse a chain in which an actor lacks a column.

        Raises:
            ValueError: Names the actor and the column.
        """
        known = set(manifest.names)
        for stage in self.stages:
            absent = sorted(set(stage.actor.reads) - known)
            if absent:
                raise ValueError(
                    f"actor '{stage.role}' reads the column {absent[0]!r}, which no step of the "
                    f"phase '{self.name}' before it gives (known: {sorted(known)})."
                )
            known.update(stage.actor.adds.names)


def plain(value: object) -> object:
    """A value as JSON, the same for the same meaning: 60 and 60.0 are one number.

    Dataclasses are their fields, less those that only change the speed.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name))
            for f in fields(value)
            if f.init and "machine" not in f.metadata
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if value is None or isinstance(value, str | bool) else repr(value)
