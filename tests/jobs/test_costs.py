"""Tokens and dollars, against sums by hand."""

import json
import math

import pytest

from mien.actors.prices import Prices, Usage, image_tokens
from mien.actors.prompts import KINDS, PROMPTS, VALIDATOR
from mien.jobs import costs
from mien.jobs.costs import Ask, Words, answer_tokens, asks, bill, electricity, sent, text_tokens
from mien.jobs.moments import Choice

SONNET = "claude-sonnet-5-5"
MOMENTS = {"flag": 40.0, "facs": 30.0, "no_face": 60.0, "keyframe": 500.0}


def billed(*questions: Ask, model: str = SONNET, words: Words = Words(), most: int = 2000):  # noqa: ANN201, B008
    return bill("x", questions, model=model, prices=Prices.load(), words=words, max_tokens=most)


def test_counted_tokens_are_priced_as_they_are() -> None:
    usage = Usage(input=1_000, output=200)
    made = billed(Ask(kind="flag", per_hour=100, pictures=4, size=(448, 252), usage=usage))
    assert made.input_tokens == 100_000
    assert made.output_tokens == 20_000
    assert made.dollars == pytest.approx(0.1 * 2.0 + 0.02 * 10.0)  # $2 in, $10 out, per million
    assert made.batch == pytest.approx(made.dollars / 2)
    assert made.most == pytest.approx(0.1 * 2.0 + 0.2 * 10.0)  # 2000 tokens out each


def test_pictures_cost_what_their_size_says() -> None:
    small = billed(Ask(kind="flag", per_hour=1, pictures=4, size=(448, 252)))
    large = billed(Ask(kind="flag", per_hour=1, pictures=4, size=(1568, 882)))
    assert small.image_tokens == 4 * 16 * 9
    assert large.image_tokens == 4 * 56 * 32
    more = large.input_tokens - small.input_tokens
    assert more == pytest.approx(4 * (56 * 32 - 16 * 9))


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_a_question_is_the_prompt_that_is_sent(kind: str) -> None:
    words = Words(bytes_per_token=1, overhead=0, transcript=0, context=0)
    prompt = PROMPTS[kind]
    fixed = len(prompt.system) + len(json.dumps(prompt.schema))
    assert fixed < text_tokens(kind, 4, words) < fixed + len(prompt.question) + 400
    longer = Words(bytes_per_token=1, overhead=7, transcript=100, context=0)
    assert text_tokens(kind, 4, longer) == text_tokens(kind, 4, words) + 107


@pytest.mark.parametrize("kind", KINDS)
def test_no_prompt_is_long_enough_for_the_cache(kind: str) -> None:
    """Of 1024 tokens on the API keeps it, and the sums would have to know; even a third more."""
    assert len(PROMPTS[kind].system.encode()) / Words().bytes_per_token * 4 / 3 < 1024


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_answer_is_valid_and_as_long_as_can_be(kind: str) -> None:
    schema = PROMPTS[kind].schema
    longest = costs._longest(schema)  # pyright: ignore[reportPrivateUsage]
    assert not list(VALIDATOR(schema).iter_errors(longest))
    bounds = [part["maxLength"] for part in schema["properties"].values() if "maxLength" in part]
    assert len(json.dumps(longest)) >= sum(bounds)
    full = answer_tokens(kind, Words(answer=1, bytes_per_token=1, thinking=0))
    assert full == len(json.dumps(longest))
    assert answer_tokens(kind, Words(answer=1, bytes_per_token=1, thinking=50)) == full + 50


def test_an_answer_is_never_longer_than_it_may_be() -> None:
    made = billed(
        Ask(kind="facs", per_hour=1, pictures=1, size=(28, 28)),
        words=Words(thinking=1e6),
        most=500,
    )
    assert made.output_tokens == 500
    assert made.dollars == pytest.approx(made.most)


def test_moments_are_asked_about_up_to_their_limit() -> None:
    choice = Choice(kinds=("keyframe", "flag"), frames=3, most_per_hour=360)
    keyframe, flag = asks(choice, MOMENTS, (448, 252))
    assert (keyframe.per_hour, flag.per_hour) == (360, 40)
    assert keyframe.pictures == 3


def test_premium_costs_more_than_hybrid_and_the_full_api_most() -> None:
    hybrid = billed(*asks(Choice(kinds=("flag", "no_face")), MOMENTS, (448, 252)))
    premium = billed(*asks(Choice(kinds=KINDS), MOMENTS, (448, 252)))
    full = billed(Ask(kind="keyframe", per_hour=3600, pictures=1, size=(1568, 882)))
    assert 0 < hybrid.dollars < premium.dollars < full.dollars


def test_an_unknown_price_is_an_error() -> None:
    with pytest.raises(ValueError, match="price is known"):
        billed(Ask(kind="flag", per_hour=1, pictures=1, size=(28, 28)), model="gpt-x")


def test_current_counts_where_it_is_given() -> None:
    assert electricity(None, 200, 0.3) == 0
    assert electricity(2.0, None, None) == 0
    assert electricity(2.0, 200, 0.3) == pytest.approx(0.12)
    made = billed(Ask(kind="flag", per_hour=10, pictures=1, size=(28, 28)))
    assert made.plus(0.5).dollars == made.dollars + 0.5


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (100, 50), None])
def test_a_picture_is_made_smaller_and_never_larger(size: tuple[int, int] | None) -> None:
    width, height = sent(size, 448, 1568)
    assert max(width, height) <= 448
    whole = size or (1920, 1080)
    assert width <= whole[0]
    assert math.isclose(width / height, whole[0] / whole[1], rel_tol=0.02)


def test_the_tables_of_the_plan_that_started_this_add_up_only_per_minute() -> None:
    """Its 4.2 prices a minute of 60 pictures of 1600 tokens at $0.29, and heads it 'per hour'."""
    prices = Prices.load()
    minute = prices.dollars("claude-sonnet-4-5", Usage(input=60 * 1600))
    assert minute == pytest.approx(0.288)
    assert 60 * minute == pytest.approx(17.28)  # what its 5.2 says of the same hour
    assert image_tokens(1092, 1092, "legacy_750") == 1590
    assert image_tokens(1092, 1092) == 39 * 39


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"answer": 1.5}, "answer"), ({"bytes_per_token": 0}, "bytes_per_token"),
     ({"thinking": -1}, "thinking")],
)  # fmt: skip
def test_wrong_words_are_named(wrong: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Words(**wrong)  # type: ignore[arg-type]
