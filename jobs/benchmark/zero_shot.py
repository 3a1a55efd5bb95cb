"""Language models that are told the labels and nothing else: Claude, or a model behind a server.

They are asked as actors are: an answer stands in a table, so that nobody is asked twice, and what
is paid for stands in the ledger of a budget.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape

from ...actors.actor import Actor
from ...actors.budget import Budget
from ...actors.claude import Claude
from ...actors.prices import Prices, Usage
from ...actors.prompts import LINE
from ...actors.vlm import NoteTaker
from ...datasets.schema import KEY, MOMENT, PICTURES
from ...datasets.store import Place, on_disk
from ...datasets.table import Table
from ..costs import Words, answer_tokens
from ..evaluation.extract import Extraction, feature_phase
from ..progress import console
from .profile_text import MELD_NAMES

TABLE, FOLDER = "zero_shot", "api"
"""Where in the run's folder answers and the ledger stand."""
MANIFEST = pa.schema([*KEY, *MOMENT, *PICTURES])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What it costs to ask, before anybody is asked.

    Attributes:
        questions: That no answer stands to.
        input_tokens: Of them all.
        output_tokens: Of the answers.
        dollars: Likely; the budget is kept in any case.
    """

    questions: int
    input_tokens: float
    output_tokens: float
    dollars: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ZeroShot:
    """One model, asked about every line.

    Attributes:
        name: Of the model, for the tables.
        actor: Asks it.
        context: How many lines before it the model is shown.
    """

    name: str
    actor: Actor
    context: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.actor, Claude | NoteTaker):
            raise ValueError(
                f"an actor of `benchmark.zero_shot` must take notes on moments (Claude, a server, "
                f"a local model), but {self.name!r} is {type(self.actor).__name__}."
            )
        if self.context < 0:
            raise ValueError(f"`context` must not be negative, but is {self.context}.")

    @property
    def system(self) -> str:
        """Its name in the tables."""
        return f"{self.name} zero-shot" + (f", {self.context} lines before" * bool(self.context))

    @property
    def inputs(self) -> str:
        """What it is given."""
        return "text, speaker" + (", context" * bool(self.context))

    def ask(self, extraction: Extraction, rows: pa.Table, folder: Place) -> "Answers":
        """Ask about every line that no answer stands to; see `afford`.

        Args:
            extraction: Runs the actor.
            rows: Utterances that are judged, whole dialogues.
            folder: Of the run.

        Raises:
            ValueError: The budget came to its end.
        """
        chain = {"notes": self._placed(folder)}
        asked = manifest(rows, self.context)
        table = extraction.table(TABLE, chain, asked, rows_from=self._rows_from, retry=True)
        return answers(table, rows)

    def likely(self, rows: pa.Table, folder: Place) -> "Estimate | None":
        """What it will cost to ask what has not been asked; `None`: nothing, whatever it is."""
        actor = self._placed(folder)
        if not isinstance(actor, Claude):
            return None
        phase = feature_phase(TABLE, {"notes": actor}, rows_from=self._rows_from)
        return estimate(actor, without(manifest(rows, self.context), phase.table(folder)))

    @property
    def _rows_from(self) -> dict[str, Any]:
        return {"prompt": LINE.digest, "context": self.context}

    def _placed(self, folder: Place) -> Actor:
        """The actor, knowing its folder."""
        if not isinstance(self.actor, Claude) or self.actor.folder is not None:
            return self.actor
        if not on_disk(folder):
            raise ValueError(
                f"`out` must be a folder on a file system for {self.name!r}, which keeps its "
                f"ledger there, but is '{folder}'."
            )
        return replace(self.actor, folder=str(folder / FOLDER))


def afford(systems: Sequence[ZeroShot], rows: pa.Table, folder: Place) -> None:
    """Say what all questions will cost, and refuse what the budget cannot bear.

    Args:
        systems: That are to be asked.
        rows: Utterances that are judged, whole dialogues.
        folder: Of the run.

    Raises:
        ValueError: It would cost more than is left of the budget; nobody has been asked.
    """
    paid = {one: likely for one in systems if (likely := one.likely(rows, folder)) is not None}
    for one, likely in paid.items():
        said = f"{likely.questions} questions, about {likely.dollars:.2f} dollars"
        console.print(escape(f"{one.system}: {said}"))
    dollars = sum(likely.dollars for likely in paid.values())
    if not dollars:
        return
    limit = min(one.actor.budget_usd for one in paid if isinstance(one.actor, Claude))
    left = limit - Budget(Path(str(folder)) / FOLDER, limit).spent()
    if dollars > left:
        raise ValueError(
            f"`budget.usd` must leave about {dollars:.2f} dollars for these questions, but leaves "
            f"{left:.2f}: raise it, or take `benchmark.actors.claude.mode=batches`, which costs "
            "half. Nothing was asked."
        )


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said of each line, in the order of the rows.

    Attributes:
        predicted: MELD's label; `None` where there is no answer.
        failed: Why there is none, with how often.
        dollars: What all answers cost; `None` where nobody knows.
        answered_by: The model, as the server names it.
    """

    predicted: list[str | None]
    failed: dict[str, int]
    dollars: float | None
    answered_by: str


def manifest(rows: pa.Table, context: int) -> pa.Table:
    """Lines as moments without pictures.

    Args:
        rows: Utterances in order, whole dialogues.
        context: How many lines before each are shown with it.
    """
    found: list[dict[str, Any]] = []
    for group, lines in groupby(rows.to_pylist(), key=lambda row: row["group"]):
        said: list[str] = []
        for row in lines:
            before = "\n".join(said[-context:]) if context else ""
            said.append(f"{row['speaker']}: {row['text']}")
            found.append(
                {
                    "id": row["id"],
                    "video_id": group,
                    "uri": group,
                    "kind": LINE.name,
                    "speaker": row["speaker"],
                    "text": row["text"],
                    "context": before or None,
                    "pictures": [],
                }
            )
    return pa.Table.from_pylist(found, schema=MANIFEST)


def without(asked: pa.Table, table: Table) -> pa.Table:
    """The questions that no answer stands to."""
    rows = table.read(["id"], ids=asked["id"].to_pylist(), status="ok")
    return asked.filter(pc.invert(pc.is_in(asked["id"], rows["id"].combine_chunks())))


def estimate(actor: Claude, asked: pa.Table, words: Words | None = None) -> Estimate:
    """What questions will likely cost.

    Args:
        actor: Asks; its answers are as long as `words` takes them to be.
        asked: See `manifest`.
        words: How texts become tokens.
    """
    words = words or Words()
    # The schema goes in twice: in words, and as the format that the API enforces.
    fixed = len((LINE.system + json.dumps(LINE.schema)).encode())
    size = sum(fixed + len(LINE.text(row).encode()) for row in asked.to_pylist())
    read = size / words.bytes_per_token + words.overhead * len(asked)
    written = answer_tokens(LINE.name, words) * len(asked)
    dollars = Prices.load(actor.prices).dollars(
        actor.name,
        Usage(input=round(read), output=round(written)),
        batch=actor.mode == "batches",
    )
    return Estimate(questions=len(asked), input_tokens=read, output_tokens=written, dollars=dollars)


def answers(table: Table, rows: pa.Table) -> Answers:
    """What stands of some rows.

    Raises:
        ValueError: The budget came to its end in between.
    """
    columns = ["id", "status", "error_type", "error_message", "emotion", "dollars", "answered_by"]
    found = {row["id"]: row for row in table.read(columns, ids=rows["id"].to_pylist()).to_pylist()}
    failed: dict[str, int] = {}
    for row in found.values():
        if row["status"] == "failed":
            reason = row["error_type"] or "unknown"
            failed[reason] = failed.get(reason, 0) + 1
    if "BudgetError" in failed:
        raise ValueError(
            f"`budget.usd` came to its end before {failed['BudgetError']} of {len(rows)} questions "
            "were asked. Raise it: what was answered is kept and not paid again."
        )
    known = [found.get(name, {}) for name in rows["id"].to_pylist()]
    dollars = [row.get("dollars") for row in known if row.get("status") == "ok"]
    names = sorted({row["answered_by"] for row in known if row.get("answered_by")})
    return Answers(
        predicted=[MELD_NAMES.get(row.get("emotion") or "") for row in known],
        failed=failed,
        dollars=None if None in dollars else float(sum(dollars)),
        answered_by=", ".join(names),
    )
