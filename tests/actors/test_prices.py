import json
from datetime import date
from pathlib import Path

import pytest

from mien.actors.prices import TABLE, Price, Prices, Usage, bare, image_tokens

TABLE_OF = Prices.load()


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (256, 256, 100),
        (512, 512, 361),
        (768, 768, 784),
        (1024, 1024, 1369),
        (1280, 720, 1196),
        (1920, 1080, 2691),
        (200, 200, 64),
        (1000, 1000, 1296),
        (1092, 1092, 1521),
        (1, 1, 1),
        (29, 28, 2),
    ],
)
def test_pictures_cost_what_was_measured(width: int, height: int, tokens: int) -> None:
    assert image_tokens(width, height) == tokens


@pytest.mark.parametrize(("side", "tokens"), [(200, 54), (1000, 1334), (1092, 1590)])
def test_the_old_rule_gives_the_old_table(side: int, tokens: int) -> None:
    assert image_tokens(side, side, "legacy_750") == tokens


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`rule` must be one of patches_28, legacy_750"):
        image_tokens(1, 1, "guess")


def test_a_minute_at_a_picture_a_second_costs_29_cents() -> None:
    """The plan's table calls it the price of an hour."""
    minute = Usage(input=1600 * 60)
    assert TABLE_OF.dollars("claude-sonnet-4-5", minute) == pytest.approx(0.288)


def test_every_token_has_its_price() -> None:
    """Sonnet 5.5: 2 in, 10 out, cache writes 1.25 and 2, reads 0.05; half of it in a batch."""
    million = 1_000_000
    for usage, dollars in (
        (Usage(input=million), 2.0),
        (Usage(output=million), 10.0),
        (Usage(write={"5m": million}), 2.5),
        (Usage(write={"1h": million}), 4.0),
        (Usage(read=million), 0.1),
        (Usage(input=million, output=million, write={"5m": million, "1h": million}), 18.5),
    ):
        assert TABLE_OF.dollars("claude-sonnet-5-5", usage) == pytest.approx(dollars)
        half = TABLE_OF.dollars("claude-sonnet-5-5", usage, batch=True)
        assert half == pytest.approx(dollars / 2)
    read = Usage(read=million)
    assert TABLE_OF.dollars("claude-haiku-4-5", read) == pytest.approx(0.1)  # a tenth
    assert Usage(input=1, read=2, write={"5m": 3, "1h": 4}, output=9).prompt == 10


@pytest.mark.parametrize("ttl", [None, "5m", "1h"])
@pytest.mark.parametrize("batch", [False, True])
def test_no_bill_is_above_the_worst(ttl: str | None, batch: bool) -> None:
    for model in TABLE_OF.models:
        worst = TABLE_OF.worst(model, 1000, 500, ttl=ttl, batch=batch)
        bills = []
        for cached in (0, 400, 1000):
            kept = Usage(input=1000 - cached, write={ttl: cached} if ttl else {}, output=500)
            found = Usage(input=1000 - cached, read=cached if ttl else 0, output=500)
            bills += [TABLE_OF.dollars(model, usage, batch=batch) for usage in (kept, found)]
        assert max(bills) <= worst + 1e-15
        assert worst > 0


def test_a_prompt_beyond_the_known_price_is_refused() -> None:
    TABLE_OF.worst("claude-haiku-5-5", 100_000, 1, ttl=None)
    with pytest.raises(ValueError, match=r"must have at most 100000 tokens.*but has 100001"):
        TABLE_OF.worst("claude-haiku-5-5", 100_001, 1, ttl=None)


def test_exact_ids_have_the_price_of_their_model() -> None:
    assert TABLE_OF.of("claude-haiku-4-5-20251001") == TABLE_OF.of("claude-haiku-4-5")
    assert bare("claude-sonnet-5-5") == "claude-sonnet-5-5"
    with pytest.raises(ValueError, match=r"`name` must be a model whose price is known"):
        TABLE_OF.of("claude-next")


def test_ends_are_known() -> None:
    assert TABLE_OF.ends("claude-sonnet-4-5-20250929") == date(2026, 11, 30)
    assert TABLE_OF.ends("claude-sonnet-5-5") is None


def test_the_table_is_dated_and_can_be_replaced(tmp_path: Path) -> None:
    content = json.loads(TABLE.read_text())
    assert Prices.load().as_of == date.fromisoformat(content["as_of"])
    content["models"]["own"] = {"input": 1, "output": 2}
    (tmp_path / "prices.json").write_text(json.dumps(content))
    own = Prices.load(tmp_path / "prices.json")
    assert own.of("own") == Price(input=1, output=2)
    with pytest.raises(ValueError, match=r"`input` must be at least 0, but is -1"):
        Price(input=-1, output=0)
