"""What Claude says of a moment: flagged moments, missing faces, action units, keyframes."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from ..datasets.schema import NOTE
from .actor import MACHINE, Actor, answer
from .answers import Answers, keyless
from .budget import Budget
from .claude_batch import Batches
from .claude_desk import Desk
from .claude_question import MOST_PX, Question, question
from .prices import IMAGE_RULES, Prices
from .prompts import PROMPTS, note

KEY = "ANTHROPIC_API_KEY"
MODES = ("messages", "batches")
TTLS = ("5m", "1h")
THINKING = ("adaptive", "disabled")

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Claude(Actor):
    """A moment's note by Claude, through Anthropic's API, within a budget in dollars.

    An answer is bought once: it stands on disk, by the content of its question, before the row
    does. Money is promised in the ledger before each attempt, at the most that it can cost, and
    settled after; see `budget`. A question that does not fit any more fails with `BudgetError`
    and is not sent. So do, with their reasons, a refusal, an answer cut at `max_tokens` and an
    answer that is malformed twice; all three are paid for.

    The system prompt is marked for the API's cache. The API keeps it only from a certain length
    on (1024 tokens, for some models more); a shorter one costs what it costs without the mark.

    Attributes:
        name: The model, as the API names it. Its price must be known; see `prices`.
        mode: `messages` asks now; `batches` asks for half the price, within a day, a batch per
            `batch_size` rows.
        budget_usd: What may be spent from `folder`, by all workers and all runs together.
        folder: Where ledger and answers are kept: the run's; all workers share it.
        max_tokens: At which an answer is cut; what the model thinks counts as well.
        thinking: `adaptive` or `disabled`; `None`: the model's default. Not every model takes
            every one.
        picture_px: Longest side of a picture that is sent. Larger ones cost more: tokens are
            ceil(w / 28) x ceil(h / 28). Faces below 200 pixels are read badly; none is enlarged.
        cache_ttl: How long the system prompt is kept: `5m`, `1h`; `None`: not at all.
        image_rule: How pictures are counted where the API does not count; see `image_tokens`.
        count: Whether the API is asked to count the tokens first (free); else our own estimate,
            which is rather too high, is taken.
        margin: Share by which the count, which the API calls an estimate, is raised.
        prices: File to take in place of the price table of the package.
        base_url: Of a gateway; `None`: Anthropic's.
        timeout_s: Without a byte from the server before an attempt is given up. Such an attempt
            may have been billed, so its promise counts as spent.
        max_retries: After 429, 500, 529, a timeout or a cut connection, by the SDK itself, which
            waits longer each time or as long as the server says.
        parallel: Questions under way at once, per worker.
        poll_s: Between two looks at a batch.
        patience_h: How long a batch is waited for.
    """

    reads: ClassVar[tuple[str, ...]] = (
        *("kind", "reason", "speaker", "text", "context", "start_s", "stop_s", "pictures"),
    )
    adds: ClassVar[pa.Schema] = NOTE
    remote: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("anthropic",)
    model: ClassVar[str] = "Claude"
    licence: ClassVar[str] = "LicenseRef-Anthropic-Commercial-Terms"
    quality: ClassVar[str] = (
        "Not measured here: there is no access to the API where mien is built; what it says is "
        "an opinion on a few pictures, its confidence its own."
    )

    name: str = "claude-sonnet-5-5"
    mode: str = field(default="messages", metadata=MACHINE)
    budget_usd: float = field(default=5.0, metadata=MACHINE)
    folder: str | None = field(default=None, metadata=MACHINE)
    max_tokens: int = 2000
    thinking: str | None = None
    picture_px: int = 1568
    cache_ttl: str | None = field(default="5m", metadata=MACHINE)
    image_rule: str = field(default="patches_28", metadata=MACHINE)
    count: bool = field(default=True, metadata=MACHINE)
    margin: float = field(default=1.05, metadata=MACHINE)
    prices: str | None = field(default=None, metadata=MACHINE)
    base_url: str | None = field(default=None, metadata=MACHINE)
    timeout_s: float = field(default=120.0, metadata=MACHINE)
    max_retries: int = field(default=4, metadata=MACHINE)
    parallel: int = field(default=4, metadata=MACHINE)
    poll_s: float = field(default=30.0, metadata=MACHINE)
    patience_h: float = field(default=26.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        keyless(self.base_url)
        for name, known in (("mode", MODES), ("image_rule", IMAGE_RULES)):
            _check(name, getattr(self, name), known)
        for name, known in (("cache_ttl", TTLS), ("thinking", THINKING)):
            _check(name, getattr(self, name), (None, *known))
        for name, least in (("max_tokens", 1), ("parallel", 1), ("max_retries", 0), ("margin", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(
                    f"`{name}` must be at least {least}, but is {getattr(self, name)}."
                )
        for name in ("timeout_s", "poll_s", "patience_h"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be greater than 0, but is {getattr(self, name)}.")
        if not 28 <= self.picture_px <= MOST_PX:
            raise ValueError(
                f"`picture_px` must be from 28 to {MOST_PX}, but is {self.picture_px}."
            )
        Budget(Path(), self.budget_usd)
        self._check_model()

    def _check_model(self) -> None:
        """Refuse a model whose price is not known, and warn of one that ends."""
        table = Prices.load(self.prices)
        end = table.ends(self.name)
        if end is not None:
            state = "has ended on" if end <= date.today() else "is deprecated and ends on"
            log.warning("%s %s %s: set `name` to a newer model.", self.name, state, end)
        table.of(self.name)

    def missing(self) -> str | None:
        """Also why nobody can be asked: there is no key."""
        key = None
        if not os.environ.get(KEY):
            key = f"needs a key of Anthropic's API in the environment: `export {KEY}=...`"
        return "; ".join(reason for reason in (super().missing(), key) if reason) or None

    def provenance(self) -> dict[str, str]:
        """The model that is asked for; which one answered stands in `answered_by`."""
        return {"model": self.name, "revision": "", "licence": self.licence}

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the parameters, the model, and the prompts."""
        return super().identity() | {"prompts": {k: p.digest for k, p in PROMPTS.items()}}

    def setup(self) -> None:
        """Open the ledger and the client."""
        import anthropic

        if self.folder is None:
            raise ValueError(
                "`folder` must be set, but is None: the ledger of the budget and the answers that "
                "are paid for stand there."
            )
        if not os.environ.get(KEY):
            raise ValueError(str(self.missing()))
        folder = Path(self.folder)
        client = anthropic.Anthropic(
            api_key=os.environ[KEY],
            base_url=self.base_url,
            timeout=self.timeout_s,
            max_retries=self.max_retries,
        )
        self._desk = Desk(
            client=client,
            model=self.name,
            max_tokens=self.max_tokens,
            ttl=self.cache_ttl,
            margin=self.margin,
            budget=Budget(folder, self.budget_usd, patience_s=self.timeout_s),
            answers=Answers(folder / "answers"),
            prices=Prices.load(self.prices),
            counts=self.count,
        )
        self._failures: dict[str, Exception] = {}

    def process(self, rows: pa.Table) -> pa.Table:
        """Ask about each moment that no answer is known to.

        Rows at fault do not keep the others from being asked: these are answered from disk when
        the caller, having split the batch, comes again, and what failed fails again unasked.
        """
        asked = [self._question(row) for row in rows.to_pylist()]
        new: dict[str, Question] = {}
        for one in asked:
            if isinstance(one, Question) and one.digest not in self._failures:
                new[one.digest] = one
        records = {digest: self._desk.recall(one) for digest, one in new.items()}
        self._ask([one for digest, one in new.items() if records[digest] is None])
        notes = []
        for one in asked:
            error = one if isinstance(one, Exception) else self._failures.get(one.digest)
            if error is None:
                assert isinstance(one, Question)
                record = records[one.digest] or self._desk.recall(one)
                assert record is not None
                notes.append(self._note(one, record))
                continue
            if len(rows) == 1 and isinstance(one, Question):
                del self._failures[one.digest]
            raise error
        return answer({name: [note[name] for note in notes] for name in NOTE.names}, NOTE)

    def close(self) -> None:
        """Close the connections."""
        self._desk.client.close()

    def _question(self, row: dict[str, Any]) -> Question | Exception:
        try:
            return question(
                row,
                model=self.name,
                max_tokens=self.max_tokens,
                thinking=self.thinking,
                picture_px=self.picture_px,
                ttl=self.cache_ttl,
                rule=self.image_rule,
            )
        except Exception as error:
            return error

    def _ask(self, asked: Sequence[Question]) -> None:
        """Get an answer to each of these on disk, or its failure on record."""
        if not asked:
            return
        if self.mode == "batches":
            patience = {"poll_s": self.poll_s, "patience_h": self.patience_h}
            desk = Batches(desk=self._desk, parallel=self.parallel, **patience)
            self._failures.update(desk.ask(asked))
            return

        def ask(one: Question) -> Exception | None:
            try:
                self._desk.ask(one)
            except Exception as error:
                return error
            return None

        with ThreadPoolExecutor(self.parallel) as pool:
            for one, error in zip(asked, pool.map(ask, asked), strict=True):
                if error is not None:
                    self._failures[one.digest] = error

    def _note(self, asked: Question, record: dict[str, Any]) -> dict[str, Any]:
        """The columns of one row; dollars are those that this worker spent on it."""
        return {
            **note(record["answer"]),
            "prompt": record["prompt"],
            "input_tokens": record["input"] + record["read"] + sum(record["write"].values()),
            "output_tokens": record["output"],
            "cached_tokens": record["read"],
            "dollars": self._desk.bought.get(asked.digest, 0.0),
            "request_id": record["request_id"],
            "answered_by": record["model"],
        }


def _check(name: str, value: str | None, known: Sequence[str | None]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` must be one of {known}, but is {value!r}.")
