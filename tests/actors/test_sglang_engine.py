"""As far as it goes without SGLang, which no environment with vLLM can hold."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from mien.actors.prompts import prompt_for
from mien.actors.sglang_engine import SGLang
from mien.actors.vlm import Question, Reply
from mien.actors.weights import Weights


@pytest.fixture
def actor(tmp_path: Path) -> SGLang:
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    return SGLang(
        checkpoint=Weights(name="lmms/model", licence="MIT", dir=str(tmp_path)),
        tokenizer=Weights(name="llava/tokenizer", licence="MIT", dir=str(tmp_path)),
        max_model_len=4096,
        engine={"attention_backend": "triton", "dtype": "float16"},
    )


def question(pictures: int = 2, rejected: tuple[str, str] | None = None) -> Question:
    return Question(
        prompt=prompt_for("facs"),
        text="Which units?",
        times=tuple(map(float, range(pictures))),
        jpegs=(b"jpeg",) * pictures,
        rejected=rejected,
    )


@pytest.mark.skipif(find_spec("sglang") is not None, reason="SGLang is installed here")
def test_without_sglang_it_names_the_environment_of_its_own(actor: SGLang) -> None:
    missing = actor.missing() or ""
    assert "needs the package sglang" in missing
    assert "`environment`" in missing
    assert "sglang_server" in missing
    actor.environment = "sglang"
    assert actor.missing() is None


def test_missing_weights_are_named_with_or_without_sglang(tmp_path: Path) -> None:
    absent = Weights(name="lmms/absent", licence="MIT", dir=str(tmp_path))
    actor = SGLang(checkpoint=absent, environment="sglang")
    assert "lmms/absent" in (actor.missing() or "")


def test_thirty_two_pictures_are_shown_at_most(actor: SGLang) -> None:
    assert actor.most_pictures == 32


def test_the_engine_s_arguments_are_ours_then_the_user_s(actor: SGLang, tmp_path: Path) -> None:
    arguments = actor.arguments()
    assert arguments["model_path"] == str(tmp_path / "model")
    assert arguments["tokenizer_path"] == str(tmp_path / "tokenizer")
    assert arguments["context_length"] == 4096
    assert arguments["attention_backend"] == "triton"
    assert arguments["dtype"] == "float16"


def test_each_picture_has_its_placeholder_before_the_words(actor: SGLang) -> None:
    prompt = actor.prompt(question(3))
    assert prompt.endswith(" USER: <image>\n<image>\n<image>\nWhich units? ASSISTANT:")
    assert prompt.startswith(prompt_for("facs").system)


def test_the_second_time_it_says_what_was_wrong(actor: SGLang) -> None:
    prompt = actor.prompt(question(rejected=("bad", "It was no JSON.")))
    assert "Which units?\n\nThat could not be used: It was no JSON." in prompt


def test_the_answer_is_greedy_and_bound_to_the_schema(actor: SGLang) -> None:
    sampling = actor.sampling(question())
    assert sampling["temperature"] == 0
    assert sampling["max_new_tokens"] == actor.max_tokens
    assert json.loads(sampling["json_schema"]) == prompt_for("facs").schema


def test_the_engine_s_answer_becomes_a_reply(actor: SGLang) -> None:
    said = {
        "text": "{}",
        "meta_info": {
            "id": "a",
            "finish_reason": {"type": "length", "length": 8},
            "prompt_tokens": 10,
            "completion_tokens": 8,
            "cached_tokens": 4,
        },
    }
    assert actor.reply(said) == Reply(
        text="{}",
        model="lmms/model",
        cut=True,
        input_tokens=10,
        output_tokens=8,
        cached_tokens=4,
        dollars=0.0,
    )


def test_the_share_of_memory_is_a_share() -> None:
    with pytest.raises(ValueError, match="`memory_share` must be between 0 and 1, but is 1"):
        SGLang(checkpoint=Weights(name="a", licence="MIT"), memory_share=1.0)
