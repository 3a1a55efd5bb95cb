"""Checks of the actor that need no SDK."""

import logging
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.actors.claude import Claude
from mien.actors.claude_batch import alive
from mien.actors.claude_question import fitted, thinned
from mien.actors.prices import Prices
from mien.actors.prompts import PROMPTS
from mien.datasets.schema import NOTE


def jpeg(width: int, height: int, *, noise: bool = False) -> bytes:
    shape = (height, width, 3)
    flat = np.full(shape, 128, np.uint8)
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8) if noise else flat
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def size(content: bytes) -> tuple[int, int]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape[1], image.shape[0]


def test_a_key_is_needed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert "`export ANTHROPIC_API_KEY=...`" in (Claude().missing() or "")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    assert "ANTHROPIC" not in (Claude().missing() or "")


def test_no_key_stands_in_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    actor = Claude()
    assert "secret" not in f"{actor} {actor.identity()} {actor.provenance()}"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mode", "stream", r"`mode` must be one of .*messages.*, but is 'stream'"),
        ("cache_ttl", "1d", r"`cache_ttl` must be one of .*, but is '1d'"),
        ("thinking", "hard", r"`thinking` must be one of"),
        ("image_rule", "guess", r"`image_rule` must be one of"),
        ("budget_usd", -1.0, r"`budget_usd` must be at least 0, but is -1"),
        ("max_tokens", 0, r"`max_tokens` must be at least 1, but is 0"),
        ("margin", 0.9, r"`margin` must be at least 1, but is 0.9"),
        ("max_retries", -1, r"`max_retries` must be at least 0"),
        ("timeout_s", 0.0, r"`timeout_s` must be greater than 0, but is 0.0"),
        ("picture_px", 9000, r"`picture_px` must be from 28 to 8000, but is 9000"),
        ("name", "claude-next", r"`name` must be a model whose price is known.*'claude-next'"),
    ],
)
def test_parameters_are_checked(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Claude(**{field: value})  # type: ignore[arg-type]


def test_a_folder_is_needed() -> None:
    pytest.importorskip("anthropic")
    with pytest.raises(ValueError, match=r"`folder` must be set, but is None"):
        Claude().setup()


def test_a_deprecated_model_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Claude()
        assert not caplog.text
        Claude(name="claude-sonnet-4-5")
    assert "claude-sonnet-4-5" in caplog.text
    assert "2026-11-30: set `name` to a newer model" in caplog.text


def test_an_ended_model_is_not_asked() -> None:
    with pytest.raises(ValueError, match="price is known"):
        Claude(name="claude-3-7-sonnet-20250219")


def test_the_default_model_is_priced_and_has_no_announced_end() -> None:
    prices = Prices.load()
    assert prices.of(Claude().name)
    assert prices.ends(Claude().name) is None


def test_money_and_machine_do_not_change_the_answer() -> None:
    same = Claude(budget_usd=9, folder="x", mode="batches", parallel=1, base_url="http://gateway")
    assert same.identity() == Claude().identity()
    for other in (
        Claude(name="claude-haiku-5-5"),
        Claude(max_tokens=999),
        Claude(picture_px=500),
        Claude(thinking="disabled"),
    ):
        assert other.identity() != Claude().identity()
    assert Claude(name="claude-haiku-5-5").provenance()["model"] == "claude-haiku-5-5"


def test_it_adds_a_note() -> None:
    assert Claude.adds == NOTE


def test_small_pictures_go_as_they_are() -> None:
    content = jpeg(300, 200)
    (picture,) = fitted([content], 1568)
    assert picture.jpeg is content
    assert (picture.width, picture.height) == (300, 200)


def test_large_pictures_are_made_smaller_in_proportion() -> None:
    (picture,) = fitted([jpeg(2000, 1000)], 800)
    assert (picture.width, picture.height) == (800, 400) == size(picture.jpeg)
    (picture,) = fitted([jpeg(9000, 20)], 8000)
    assert size(picture.jpeg) == (8000, 18)


def test_many_pictures_have_a_smaller_limit() -> None:
    content = jpeg(2400, 300)
    assert {p.width for p in fitted([content] * 20, 8000)} == {2400}
    assert {p.width for p in fitted([content] * 21, 8000)} == {2000}


def test_a_request_stays_below_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg(600, 600, noise=True)
    most = 3 * len(content)
    monkeypatch.setattr("mien.actors.claude_question.MOST_BYTES", most)
    pictures = fitted([content] * 6, 8000)
    assert sum((len(p.jpeg) + 2) // 3 * 4 for p in pictures) <= most
    assert len({size(p.jpeg) for p in pictures}) == 1
    assert pictures[0].width < 600


def test_a_broken_picture_is_named() -> None:
    with pytest.raises(ValueError, match=r"picture 2 of the moment is no JPEG"):
        fitted([jpeg(9, 9), b"\xff\xd8 no"], 100)


def test_at_most_a_hundred_pictures_are_spread_evenly() -> None:
    pictures = [{"time_s": float(i)} for i in range(250)]
    kept = thinned(pictures)
    times = [p["time_s"] for p in kept]
    assert len(kept) == 100
    assert (times[0], times[-1]) == (0.0, 249.0)
    assert set(np.diff(times)) <= {2.0, 3.0}
    assert thinned(pictures[:100]) == pictures[:100]


def test_the_price_table_can_be_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(
        '{"as_of": "2027-01-01", "cache_write": {"5m": 1, "1h": 1}, "batch": 1,'
        ' "models": {"claude-next": {"input": 1, "output": 1}}, "end_of_life": {}}'
    )
    assert Claude(name="claude-next", prices=str(path)).name == "claude-next"


def test_the_promises_of_a_living_worker_are_told_from_those_of_a_dead_one() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        group = f"unknown {socket.gethostname()} {other.pid} x"
        assert alive(group)
        other.kill()
        other.wait()
        assert not alive(group)
    assert not alive(f"unknown {socket.gethostname()} {os.getpid()} x")  # of this worker, before
    assert not alive("unknown elsewhere 1 x")


def test_a_changed_prompt_makes_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Claude().identity()
    changed = replace(PROMPTS["flag"], question="Another question about $span?")
    monkeypatch.setitem(PROMPTS, "flag", changed)
    assert Claude().identity() != before
