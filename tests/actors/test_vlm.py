import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pytest

from mien.actors.prompts import MalformedAnswerError, prompt_for
from mien.actors.vlm import NoteTaker, Question, Reply, opened, spread, total
from mien.cluster.host import Host, Stage, begin
from mien.cluster.journal import Journal
from mien.datasets.schema import NOTE, PICTURES

GOOD = {
    "people": 1,
    "behaviour": "sits",
    "gaze": "down",
    "setting": "a room",
    "emotion": "neutral",
    "confidence": 0.5,
    "summary": "Somebody sits.",
}
LOG: list[list[str]] = []
"""The transcripts of the questions of each call, across what the host pickles."""


def said(text: str, **more: Any) -> Reply:  # noqa: ANN401
    return Reply(text=text, model="m", input_tokens=10, output_tokens=2, dollars=0.5, **more)


def scripted(question: Question) -> Reply | Exception:
    """What a model would say to the words of the moment."""
    if "broken" in question.text:
        return said("No idea.")
    if "wavering" in question.text and question.rejected is None:
        return said("No idea.", cached_tokens=1)
    if "long" in question.text:
        return said(json.dumps(GOOD), cut=True)
    if "lost" in question.text:
        return RuntimeError("the server hung up")
    return said(json.dumps(GOOD), cached_tokens=3)


@dataclass(kw_only=True)
class Scripted(NoteTaker):
    """Answers from a script."""

    script: Callable[[Question], Reply | Exception] = field(default=scripted)

    def ask(self, questions: Sequence[Question]) -> Sequence[Reply | Exception]:
        LOG.append(
            [question.text.split("<transcript>")[1][1:].split('"')[0] for question in questions]
        )
        return [self.script(question) for question in questions]


@pytest.fixture
def log() -> list[list[str]]:
    LOG.clear()
    return LOG


def moments(*texts: str, pictures: int = 2) -> pa.Table:
    shown = [{"time_s": float(i), "jpeg": b"jpeg %d" % i} for i in range(pictures)]
    count = len(texts)
    return pa.table(
        {
            "kind": ["keyframe"] * count,
            "reason": ["why"] * count,
            "speaker": [None] * count,
            "text": list(texts),
            "context": ["[]"] * count,
            "start_s": [0.0] * count,
            "stop_s": [2.0] * count,
            "pictures": pa.array([shown] * count, PICTURES.field("pictures").type),
        }
    )


def taker(**parameters: Any) -> Scripted:  # noqa: ANN401
    actor = Scripted(**parameters)
    actor.setup()
    return actor


def test_a_note_for_each_moment_in_order(log: list[list[str]]) -> None:
    notes = taker().process(moments("one", "two"))
    assert notes.schema == NOTE
    assert log == [["one", "two"]]
    note = notes.to_pylist()[0]
    assert json.loads(note.pop("answer")) == GOOD
    assert note == {
        "summary": "Somebody sits.",
        "emotion": "neutral",
        "confidence": 0.5,
        "prompt": prompt_for("keyframe").title,
        "input_tokens": 10,
        "output_tokens": 2,
        "cached_tokens": 3,
        "dollars": 0.5,
        "request_id": None,
        "answered_by": "m",
    }


def test_a_malformed_answer_is_asked_for_once_more_and_both_are_paid(log: list[list[str]]) -> None:
    notes = taker().process(moments("one", "wavering", "two")).to_pylist()
    assert log == [["one", "wavering", "two"], ["wavering"]]
    assert [note["input_tokens"] for note in notes] == [10, 20, 10]
    assert [note["dollars"] for note in notes] == [0.5, 1.0, 0.5]
    assert notes[1]["cached_tokens"] == 4


def test_the_second_time_the_model_hears_what_was_wrong() -> None:
    heard: list[Question] = []

    def script(question: Question) -> Reply:
        heard.append(question)
        return said("No idea." if question.rejected is None else json.dumps(GOOD))

    taker(script=script).process(moments("one"))
    first, second = (question.messages([]) for question in heard)
    assert second[:2] == first
    assert [turn["role"] for turn in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"][0]["text"] == "No idea."
    assert "holds no JSON object" in second[3]["content"][0]["text"]


def test_an_answer_that_stays_malformed_fails_its_row(log: list[list[str]]) -> None:
    with pytest.raises(MalformedAnswerError, match=r"holds no JSON object: 'No idea\.'"):
        taker().process(moments("broken"))
    assert log == [["broken"], ["broken"]]


def test_an_answer_that_was_cut_off_is_malformed() -> None:
    with pytest.raises(MalformedAnswerError, match=r"cut off at `max_tokens` \(1536\)"):
        taker().process(moments("long"))


def test_a_question_without_a_reply_is_not_asked_again(log: list[list[str]]) -> None:
    with pytest.raises(RuntimeError, match="the server hung up"):
        taker().process(moments("lost"))
    assert log == [["lost"]]


def test_equal_moments_are_one_question(log: list[list[str]]) -> None:
    notes = taker().process(moments("one", "one"))
    assert log == [["one"]]
    assert notes["summary"].to_pylist() == ["Somebody sits."] * 2


def test_another_picture_or_time_is_another_question() -> None:
    prompt = prompt_for("flag")
    base = Question(prompt=prompt, text="a", times=(1.0,), jpegs=(b"x",))
    others = [
        Question(prompt=prompt, text="b", times=(1.0,), jpegs=(b"x",)),
        Question(prompt=prompt, text="a", times=(2.0,), jpegs=(b"x",)),
        Question(prompt=prompt, text="a", times=(1.0,), jpegs=(b"y",)),
        Question(prompt=prompt_for("facs"), text="a", times=(1.0,), jpegs=(b"x",)),
    ]
    assert len({question.key for question in (base, *others)}) == 5


def test_one_bad_answer_in_a_batch_of_eight_costs_nobody_else_anything(
    log: list[list[str]], tmp_path: Path
) -> None:
    texts = [f"moment {i}" for i in range(8)]
    texts[5] = "broken"
    manifest = moments(*texts).append_column("id", pa.array([f"r{i}" for i in range(8)]))
    rows = begin(manifest, "hash", [1] * 8)
    host = Host(cloudpickle.dumps([Stage(role="notes", actor=Scripted())]), Journal())
    done = host(rows).to_pylist()
    assert [row["status"] for row in done] == ["ok"] * 5 + ["failed"] + ["ok"] * 2
    assert [row["summary"] for row in done if row["status"] == "ok"] == ["Somebody sits."] * 7
    assert done[5]["error_type"] == "MalformedAnswerError"
    assert log == [texts, ["broken"]]  # no question but the bad one twice, the bisection none


def test_a_failed_moment_can_be_tried_again(log: list[list[str]]) -> None:
    actor = taker()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            actor.process(moments("lost"))
    assert log == [["lost"], ["lost"]]


def test_answers_of_long_ago_are_forgotten() -> None:
    actor = taker(batch_size=2)
    for i in range(50):
        actor.process(moments(f"moment {i}"))
    assert len(vars(actor)["_kept"]) <= 4 * 2 + 1


def test_a_moment_without_a_picture_has_no_note(log: list[list[str]]) -> None:
    notes = taker().process(moments("one", pictures=0))
    assert notes.to_pylist() == [dict.fromkeys(NOTE.names)]
    assert log == []


def test_at_most_so_many_pictures_are_shown_and_told_of() -> None:
    heard: list[Question] = []

    def script(question: Question) -> Reply:
        heard.append(question)
        return said(json.dumps(GOOD))

    taker(script=script, most_pictures=3).process(moments("one", pictures=9))
    assert heard[0].times == (0.0, 4.0, 8.0)
    assert heard[0].jpegs == (b"jpeg 0", b"jpeg 4", b"jpeg 8")
    assert "1 at 0.00 s, 2 at 4.00 s, 3 at 8.00 s." in heard[0].text


def test_an_unknown_kind_fails_the_row() -> None:
    rows = moments("one").set_column(0, "kind", pa.array(["portrait"]))
    with pytest.raises(ValueError, match="`kind` must be one of"):
        taker().process(rows)


def test_a_picture_that_cannot_be_decoded_is_named_by_its_time() -> None:
    pytest.importorskip("PIL")
    question = Question(prompt=prompt_for("flag"), text="", times=(2.5,), jpegs=(b"no jpeg",))
    with pytest.raises(ValueError, match=r"the picture at 2\.50 s cannot be decoded"):
        opened(question)


def test_the_prompts_are_part_of_what_the_answer_depends_on() -> None:
    assert Scripted().identity()["prompts"]["flag"] == prompt_for("flag").digest


@pytest.mark.parametrize("name", ["max_tokens", "most_pictures", "batch_size"])
def test_counts_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, but is 0"):
        taker(**{name: 0})


def test_what_is_partly_unknown_is_unknown() -> None:
    assert total([1, None]) is None
    assert total([1, 2]) == 3


def test_a_single_item_is_the_first() -> None:
    assert spread("abc", 1) == ["a"]
