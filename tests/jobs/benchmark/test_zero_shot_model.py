"""MELD asked of Claude, in the place of which a server on this machine answers."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

pytest.importorskip("anthropic")

import claude_server
from mien.actors.claude import Claude
from mien.cluster.session import Cluster
from mien.jobs.benchmark.zero_shot import ZeroShot
from mien.jobs.evaluation.extract import Extraction

pytestmark = [pytest.mark.models, pytest.mark.ray, pytest.mark.filterwarnings("default")]

FEELS = {"great": "happy", "no": "angry", "oh": "surprise", "so": "neutral", "hm": "refuse"}
MELD = {"great": "joy", "no": "anger", "oh": "surprise", "so": "neutral", "hm": None}


def answer(question: str) -> object:
    """By the word of the line; with what came before, nothing but neutral."""
    word = re.search(r'<transcript>"(\w+)', question)
    assert word
    feels = FEELS[word[1]] if "<context>unknown" in question else "neutral"
    return feels if feels == "refuse" else {**claude_server.EMPTY, "emotion": feels}


def test_every_line_is_asked_once_paid_once_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    words = list(FEELS) * 3
    rows = pa.table(
        {
            "id": [f"r{i}" for i in range(15)],
            "group": [f"dev-{i // 5}" for i in range(15)],
            "speaker": ["Ann"] * 15,
            "text": [f"{word} {i}" for i, word in enumerate(words)],
        }
    )
    with claude_server.serving() as server:
        server.order_of = answer
        actor = Claude(base_url=server.url, budget_usd=1.0, max_tokens=400, timeout_s=5.0)
        alone = ZeroShot(name="claude", actor=actor)
        after = replace(alone, context=2)
        with Extraction(Cluster(cores=1), tmp_path) as extraction:
            first = alone.ask(extraction, rows, tmp_path)
            other = after.ask(extraction, rows, tmp_path)
        assert first.predicted == [MELD[word] for word in words]
        assert first.failed == {"RefusedError": 3}
        assert other.predicted[1:5] == ["neutral"] * 4
        assert other.failed == {}
        assert first.dollars == pytest.approx(12 / 15 * first_bill(server), rel=0.1)
        assert first.answered_by.startswith("claude-sonnet-5-5")

        asked = len(server.bodies)
        with Extraction(Cluster(cores=1), tmp_path) as extraction:
            assert after.ask(extraction, rows, tmp_path) == other
        assert len(server.bodies) == asked
    assert (alone.system, after.system) == ("claude zero-shot", "claude zero-shot, 2 lines before")


def first_bill(server: claude_server.Server) -> float:
    """What the first fifteen answers cost, in dollars."""
    return sum(i * 2 + o * 10 for i, o in server.billed[:15]) / 1e6
