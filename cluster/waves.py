"""What is left of a phase, in waves that fit into memory, whatever the corpus."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..datasets.table import Table
from .host import begin
from .phase import Phase
from .report import Report

BLOCKS = 4096
"""Blocks of a wave, at most: a block is what is handed out, and lost with a driver, at once."""
BLOCK_ROWS = 4
"""Rows of a block of a full wave, at least."""
WAVE_MB = 256.0
"""A wave is closed when its manifest is this large: Ray's shared memory holds it."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """Which rows are done although they stand.

    Attributes:
        failed: Those that failed.
        stale: Names more, for some rows of the manifest.
    """

    failed: bool = False
    stale: Callable[[pa.Table], Collection[str]] = lambda manifest: ()


ONCE = Again()
"""What stands is not done again."""


def outstanding(
    table: Table, manifest: pa.Table, again: Again = ONCE
) -> tuple[pa.Table, list[int]]:
    """The manifest rows that have yet to be done, and the attempt each is at.

    Args:
        table: What stands already.
        manifest: Rows of the phase: some videos with all their rows.
        again: What is done although it stands.
    """
    known = table.outcomes(pc.unique(manifest["video_id"]).to_pylist())
    anew = pc.is_in(known["id"], pa.array(list(again.stale(manifest)), pa.string()))
    if again.failed:
        anew = pc.or_(anew, pc.equal(known["status"], "failed"))
    settled = known.filter(pc.invert(anew))
    todo = manifest.filter(pc.invert(pc.is_in(manifest["id"], settled["id"].combine_chunks())))
    if not len(known):
        return todo, [1] * len(todo)
    attempts = dict(zip(known["id"].to_pylist(), known["attempt"].to_pylist(), strict=True))
    return todo, [attempts.get(i, 0) + 1 for i in todo["id"].to_pylist()]


def waves(
    phase: Phase, table: Table, groups: Iterable[pa.Table], again: Again, report: Report
) -> Iterator[pa.Table]:
    """The outstanding rows of a phase, ready for its chain.

    Args:
        phase: Whose rows they are.
        table: Where they will stand.
        groups: The manifest, in parts; a video lies in one of them.
        again: What is done although it stands.
        report: Counts the rows as they come to light.

    Yields:
        Rows with the outcome columns of a row that has not been touched yet.
    """
    most = BLOCKS * max(BLOCK_ROWS, *(stage.actor.batch_size for stage in phase.stages))
    held: list[pa.Table] = []
    for group in groups:
        phase.check(group.schema)
        todo, attempts = outstanding(table, group, again)
        report.rows += len(group)
        report.skipped += len(group) - len(todo)
        if len(todo):
            held.append(begin(todo, phase.hash, attempts))
        while sum(map(len, held)) >= most or sum(t.nbytes for t in held) > WAVE_MB * 2**20:
            whole = pa.concat_tables(held)
            yield whole.slice(0, most)
            held = [whole.slice(most)] if len(whole) > most else []
    report.counted = True
    if held:
        yield pa.concat_tables(held)


def peeked(groups: Iterable[pa.Table], count: int) -> tuple[list[pa.Table], Iterator[pa.Table]]:
    """Look at the first parts of a manifest.

    Returns:
        The first `count` at most; and all of them, those included.
    """
    rest = iter(groups)
    first = list(itertools.islice(rest, count))
    return first, itertools.chain(first, rest)
