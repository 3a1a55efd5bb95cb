"""The tiers of a run's price: local, hybrid, premium, and everything asked of a paid model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow.compute as pc

from ..actors.claude import Claude
from ..actors.prices import Prices, Usage, bare
from .costs import Ask, Bill, Words, asks, bill, electricity, sent
from .forecast import Forecast, moments
from .graph import Graph
from .moments import Choice
from .profile import Profile

PROFILES = ("hybrid", "premium")
"""Profiles that ask a paid model."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What the tiers are priced with, where a profile does not say.

    Attributes:
        words: How long questions and answers are.
        full_hz: Frames of a second that the tier `full API` asks about, each by itself.
        full_px: Longest side of those.
        watts: What the machine draws; `None`: current is not counted.
        usd_per_kwh: Price of current.
    """

    words: Words = field(default_factory=Words)
    full_hz: float = 1.0
    full_px: int = 1568
    watts: float | None = None
    usd_per_kwh: float | None = None

    def __post_init__(self) -> None:
        for name in ("full_hz", "full_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be greater than 0, but is {getattr(self, name)}.")
        if (self.watts is None) != (self.usd_per_kwh is None):
            raise ValueError("`watts` and `usd_per_kwh` must both be given, or neither.")


@dataclass(frozen=True, kw_only=True)
class Asker:
    """What a profile asks of a paid model.

    Attributes:
        choice: About which moments.
        claude: Whom.
        thumbnail_px: Longest side of the pictures that are kept.
    """

    choice: Choice
    claude: Claude
    thumbnail_px: int


def asker(profile: Profile) -> Asker | None:
    """What a profile asks of a paid model; `None` where it asks none."""
    named = (profile.actors[name] for name in profile.roles.get("notes") or [] if name)
    claude = next((actor for actor in named if isinstance(actor, Claude)), None)
    if claude is None:
        return None
    watchers = [profile.actors[name] for name in profile.roles.get("watch") or [] if name]
    edges = [getattr(actor, "thumbnail_px", 0) for actor in watchers]
    return Asker(choice=profile.moments, claude=claude, thumbnail_px=max(edges, default=0))


def bills(
    graph: Graph,
    made: Forecast,
    askers: Mapping[str, Asker],
    rates: Rates,
    hours: float | None,
) -> list[Bill]:
    """What an hour of video costs in each tier, the cheapest first.

    What the run has counted tells of its own profile alone: others choose and ask otherwise.

    Args:
        graph: Of the run.
        made: What there is to do.
        askers: What the tiers between ask, by name.
        rates: For what they do not say.
        hours: That the machine works for an hour of media; `None`: unknown.
    """
    size = picture_size(graph)
    found = counted_moments(graph, made)
    usage = counted_tokens(graph)
    current = electricity(hours, rates.watts, rates.usd_per_kwh)
    rows = [Bill(tier="local", dollars=current, most=current)]
    for name, one in askers.items():
        claude = one.claude
        pictures = sent(size, one.thumbnail_px, claude.picture_px)
        every = moments(made.assumed, one.choice.every_s)
        own = name == graph.profile.name
        questions = asks(one.choice, every | found if own else every, pictures)
        if own:
            used = (usage.get((bare(claude.name), ask.kind)) for ask in questions)
            questions = [replace(a, usage=u) for a, u in zip(questions, used, strict=True)]
        rows.append(_bill(name, questions, claude, rates.words).plus(current))
    whole = next(iter(askers.values()), None)
    if whole is not None:
        frame = Ask(
            kind="keyframe",
            per_hour=3600 * rates.full_hz,
            pictures=1,
            size=sent(size, rates.full_px),
        )
        rows.append(_bill("full API", [frame], whole.claude, rates.words))
    return rows


def _bill(tier: str, questions: Sequence[Ask], claude: Claude, words: Words) -> Bill:
    return bill(
        tier,
        questions,
        model=claude.name,
        prices=Prices.load(claude.prices),
        words=words,
        max_tokens=claude.max_tokens,
        rule=claude.image_rule,
    )


def picture_size(graph: Graph) -> tuple[int, int] | None:
    """Width and height of the run's middle video; `None` where none was probed."""
    rows = graph.table("videos").read(["width", "height"], status="ok").drop_null()
    if not len(rows):
        return None
    order = pc.sort_indices(rows, [("width", "ascending")])
    middle = rows.slice(order[len(order) // 2].as_py(), 1).to_pylist()[0]
    return middle["width"], middle["height"]


def counted_moments(graph: Graph, made: Forecast) -> dict[str, float]:
    """Moments for an hour of media, of the kinds that the run has chosen some of already."""
    if "moments" not in graph.phases:
        return {}
    stood = graph.table("moments").read(["video_id", "moments"], status="ok").to_pylist()
    rows = [row for row in stood if row["video_id"] in made.lengths]  # of the corpus as it is now
    hours = sum(made.lengths[row["video_id"]] for row in rows) / 3600
    counts: dict[str, float] = {}
    for row in rows:
        for moment in row["moments"] or []:
            counts[moment["kind"]] = counts.get(moment["kind"], 0) + 1
    return {kind: count / hours for kind, count in counts.items()} if hours else {}


def counted_tokens(graph: Graph) -> dict[tuple[str, str], Usage]:
    """Tokens of a question, on average, by model and kind, as the run's notes have them."""
    if "notes" not in graph.phases:
        return {}
    columns = ["kind", "answered_by", "input_tokens", "output_tokens"]
    rows = graph.table("notes").read(columns, status="ok").drop_null()
    means = rows.group_by(["answered_by", "kind"]).aggregate(
        [("input_tokens", "mean"), ("output_tokens", "mean")]
    )
    return {
        (bare(row["answered_by"]), row["kind"]): Usage(
            input=round(row["input_tokens_mean"]), output=round(row["output_tokens_mean"])
        )
        for row in means.to_pylist()
    }
