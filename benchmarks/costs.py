"""What an hour of video costs, by tier; and the figures of the design document, added up again.

The design document priced pictures alone, by the older formula (width x height / 750), at the
prices of a model that has ended since. Each of its lines is shown as it claims, as its own numbers
add up, and with what goes in and out today: text, pictures by patches of 28 pixels, answers.

    python benchmarks/costs.py [--answer 300] [--text 600] [--json FILE]
"""

import json
from typing import Any

from common import arguments, show
from mien.actors.prices import Prices, Usage, image_tokens
from mien.jobs.costs import Ask, Bill, Words, asks, bill, sent
from mien.jobs.forecast import Assumed, moments
from mien.jobs.main import built, configuration
from mien.jobs.tiers import PROFILES, asker

THEN, NOW = "claude-sonnet-4-5", "claude-sonnet-5-5"
SIDE_PX = 1092
"""The picture that the document's 1,600 tokens stand for."""
CLAIMS = (
    # section, strategy, pictures for an hour, what it claims for an hour
    ("4.2", "every frame, 30 fps", 108_000, "$8.64"),
    ("4.2", "1 fps", 3_600, "$0.29"),
    ("4.2", "scenes, about 0.2 fps", 720, "$0.06"),
    ("4.2", "adaptive, 20-40 a minute", 1_800, "$0.10-0.19"),
    ("5.2", "full, 30 fps", 108_000, "$518.40"),
    ("5.2", "fixed 1 fps", 3_600, "$17.28"),
    ("5.2", "scenes only, about 200", 200, "$0.96"),
    ("5.2", "adaptive, 500-1000", 750, "$2.40-4.80"),
    ("9", "hybrid, about 100", 100, "$0.50-2.00"),
    ("9", "premium, about 500", 500, "$2.50-5.00"),
    ("9", "full API (1 fps)", 3_600, "$50-100"),
)


def claimed(prices: Prices, text: int, answer: int) -> list[dict[str, Any]]:
    """The document's lines: pictures alone, and with text and an answer for each picture."""
    old = image_tokens(SIDE_PX, SIDE_PX, "legacy_750")
    new = image_tokens(SIDE_PX, SIDE_PX)
    rows = []
    for section, strategy, count, claim in CLAIMS:
        alone = prices.dollars(THEN, Usage(input=count * old))
        whole = Usage(input=count * (new + text), output=count * answer)
        rows.append(
            {
                "section": section,
                "strategy": strategy,
                "pictures/h": count,
                "it says $/h": claim,
                "its own numbers": round(alone, 2),
                f"in and out, {THEN}": round(prices.dollars(THEN, whole), 2),
                f"in and out, {NOW}": round(prices.dollars(NOW, whole), 2),
            }
        )
    return rows


def tiers(prices: Prices) -> list[Bill]:
    """Ours, for an hour as it is assumed, before any run has counted."""
    assumed, words = Assumed(), Words()
    rows = [Bill(tier="local")]
    for name in PROFILES:
        profile: Any = built(configuration("plan", [f"models={name}"]).models)
        one = asker(profile)
        assert one is not None
        size = sent(None, one.thumbnail_px, one.claude.picture_px)
        questions = asks(one.choice, moments(assumed, one.choice.every_s), size)
        rows.append(_bill(name, questions, prices, words, one.claude.max_tokens))
    frame = Ask(kind="keyframe", per_hour=3600, pictures=1, size=sent(None, 1568))
    rows.append(_bill("full API, 1 fps", (frame,), prices, words, 2000))
    return rows


def _bill(tier: str, questions: tuple[Ask, ...], prices: Prices, words: Words, most: int) -> Bill:
    return bill(tier, questions, model=NOW, prices=prices, words=words, max_tokens=most)


def main() -> None:
    """Print both tables."""
    asked = arguments(
        __doc__,
        text={"type": int, "default": 600, "help": "tokens of text with each picture"},
        answer={"type": int, "default": 300, "help": "tokens of each answer"},
    )
    prices = Prices.load()
    ours = [
        {
            "tier": one.tier,
            "questions/h": one.questions,
            "pictures/h": one.pictures,
            "tokens in/h": round(one.input_tokens),
            "of pictures": round(one.image_tokens),
            "tokens out/h": round(one.output_tokens),
            "$/h": round(one.dollars, 2),
            "in batches": None if one.batch is None else round(one.batch, 2),
            "at most": round(one.most, 2),
        }
        for one in tiers(prices)
    ]
    theirs = claimed(prices, asked.text, asked.answer)
    show(f"an hour of video with {NOW}, prices of {prices.as_of}", ours)
    show("the design document's figures", theirs)
    if asked.json:
        asked.json.write_text(json.dumps({"tiers": ours, "claims": theirs}, indent=1))


if __name__ == "__main__":
    main()
