"""The real vLLM (its CPU build), with a tiny random Qwen2-VL: in the worker and behind a server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

pytest.importorskip("vllm")

import torch
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError

import tiny_vlm
from mien.actors.openai_server import OpenAIServer
from mien.actors.prompts import KINDS, parsed, prompt_for
from mien.actors.vllm_engine import VLLM, clip_metadata, frames
from mien.actors.vlm import Question, Reply, opened
from mien.datasets.schema import NOTE, PICTURES

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]

CONF = Path(__file__).parents[2] / "conf" / "actor" / "qwen2_vl.yaml"
SMALL = {"precision": "float32", "kv_cache_gb": 0.25, "max_model_len": 8192, "eager": True}
START_S = 480
"""A server may take this long to start."""


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.build_all(tmp_path_factory.mktemp("models"))


def configured(models_dir: Path, **changed: Any) -> VLLM:  # noqa: ANN401
    """The actor that the configuration file describes, small enough for a CPU."""
    cfg = OmegaConf.create({"models": {"dir": str(models_dir)}, "actor": OmegaConf.load(CONF)})
    cfg.actor = OmegaConf.merge(cfg.actor, SMALL, changed)
    return instantiate(cfg.actor, _convert_="object")


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Iterator[VLLM]:
    set_num_threads = torch.set_num_threads  # vLLM puts its own in place
    actor = configured(models_dir)
    assert actor.missing() is None
    actor.setup()
    yield actor
    actor.close()
    torch.set_num_threads = set_num_threads


@pytest.fixture(scope="module")
def server(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of vLLM's own server, with the same model and settings as `engine`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = configured(models_dir).arguments()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--model", str(models_dir / tiny_vlm.NAME), "--served-model-name", "tiny"]
    command += ["--port", str(port), "--enforce-eager", "--disable-log-stats"]
    for name in ("dtype", "max_model_len", "max_num_seqs", "kv_cache_memory_bytes"):
        command += [f"--{name.replace('_', '-')}", str(arguments[name])]
    for name in ("limit_mm_per_prompt", "mm_processor_kwargs", "structured_outputs_config"):
        command += [f"--{name.replace('_', '-')}", json.dumps(arguments[name])]
    log = tmp_path_factory.mktemp("server") / "log"
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    lean = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # one process beside the server, not two
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=os.environ | quiet | lean,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", process, log)
        yield f"{url}/v1"
    finally:
        end(process)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text()[-4000:])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes that it started, all of one group of its own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def moments(count: int, *, seed: int = 0, text: str | None = "I am fine.") -> pa.Table:
    """Moments of all kinds, with one to three pictures."""
    shown = [tiny_vlm.pictures(1 + i % 3, seed=seed + i) for i in range(count)]
    return pa.table(
        {
            "kind": [KINDS[i % len(KINDS)] for i in range(count)],
            "reason": ["masking"] * count,
            "speaker": ["SPEAKER_00"] * count,
            "text": pa.array([text] * count, pa.string()),
            "context": ["{}"] * count,
            "start_s": [9.5] * count,
            "stop_s": [12.0] * count,
            "pictures": pa.array(shown, PICTURES.field("pictures").type),
        }
    )


def question(pictures: int, *, seed: int = 0) -> Question:
    shown = tiny_vlm.pictures(pictures, seed=seed)
    prompt = prompt_for(KINDS[seed % len(KINDS)])
    return Question(
        prompt=prompt,
        text=prompt.text({"pictures": shown}),
        times=tuple(picture["time_s"] for picture in shown),
        jpegs=tuple(picture["jpeg"] for picture in shown),
    )


def said(engine: VLLM, questions: list[Question], tokens: int = 48) -> list[list[int]]:
    """What the engine says without a schema, as tokens."""
    free = SamplingParams(temperature=0.0, max_tokens=tokens)
    outputs = engine.generate(questions, [free] * len(questions))
    return [list(output.outputs[0].token_ids) for output in outputs]


def test_every_answer_of_a_random_model_is_valid_because_the_schema_binds_it(
    engine: VLLM,
) -> None:
    notes = engine.process(moments(8))
    assert notes.schema == NOTE
    for kind, note in zip(KINDS * 2, notes.to_pylist(), strict=True):
        parsed(prompt_for(kind), note["answer"])
        assert note["prompt"] == prompt_for(kind).title
        assert note["answered_by"] == tiny_vlm.NAME
        assert note["dollars"] == 0
        assert note["input_tokens"] > 200
        assert 0 < note["output_tokens"] < engine.max_tokens


def test_without_the_schema_no_answer_of_a_random_model_is_json(engine: VLLM) -> None:
    free = SamplingParams(temperature=0.0, max_tokens=64)
    for output in engine.generate([question(1, seed=i) for i in range(4)], [free] * 4):
        assert "{" not in output.outputs[0].text[:1]


def test_the_same_moments_get_the_same_answers(engine: VLLM) -> None:
    first = engine.ask([question(2, seed=3)])
    second = engine.ask([question(2, seed=3)])
    assert isinstance(first[0], Reply)
    assert isinstance(second[0], Reply)
    assert first[0].text == second[0].text
    assert (second[0].cached_tokens or 0) > 0  # and the question was in the cache


def test_the_greedy_tokens_are_those_of_transformers_one_by_one(
    engine: VLLM, models_dir: Path
) -> None:
    questions = [question(1 + i % 3, seed=i) for i in range(4)]
    ours = said(engine, questions)
    reference = tiny_vlm.Reference(models_dir / tiny_vlm.NAME, engine)
    assert ours == [reference(asked, 48) for asked in questions]


def test_another_picture_gets_another_answer(engine: VLLM) -> None:
    one = question(1, seed=0)
    other = replace(one, jpegs=question(1, seed=4).jpegs)
    first, second = said(engine, [one, other])
    assert first != second


def test_a_question_that_is_too_long_fails_alone_and_leaves_the_engine_well(
    engine: VLLM,
) -> None:
    with pytest.raises(VLLMValidationError, match="maximum context length is 8192"):
        engine.process(moments(1, seed=50, text="a b c " * 20_000))
    assert engine.process(moments(1, seed=51))["answer"].null_count == 0


def test_a_picture_that_is_broken_is_named(engine: VLLM) -> None:
    rows = moments(1)
    broken = pa.array([[{"time_s": 1.5, "jpeg": b"broken"}]], rows["pictures"].type)
    with pytest.raises(ValueError, match=r"the picture at 1\.50 s cannot be decoded"):
        engine.process(rows.set_column(rows.schema.get_field_index("pictures"), "pictures", broken))


def test_the_server_says_what_the_engine_says(engine: VLLM, server: str) -> None:
    asked = [question(1 + i % 3, seed=i) for i in range(4)]
    actor = OpenAIServer(base_url=server)
    actor.setup()
    for mine, theirs in zip(engine.ask(asked), actor.ask(asked), strict=True):
        assert isinstance(mine, Reply)
        assert isinstance(theirs, Reply), theirs
        assert theirs.text == mine.text
        assert theirs.input_tokens == mine.input_tokens
        assert theirs.output_tokens == mine.output_tokens
        assert theirs.model == "tiny"
        assert theirs.request_id
    actor.close()


def test_notes_are_taken_through_the_server(server: str) -> None:
    actor = OpenAIServer(base_url=server, served="tiny", modalities="video", concurrency=4)
    actor.setup()
    notes = actor.process(moments(4)).to_pylist()
    for kind, note in zip(KINDS, notes, strict=True):
        parsed(prompt_for(kind), note["answer"])
    actor.close()


def test_a_question_that_the_server_finds_too_long_is_its_own_failure(server: str) -> None:
    actor = OpenAIServer(base_url=server)
    actor.setup()
    long = replace(question(1), text="a b c " * 20_000)
    refused, fine = actor.ask([long, question(1)])
    assert isinstance(refused, RuntimeError)
    assert "8192" in str(refused)
    assert isinstance(fine, Reply)
    actor.close()


def test_a_model_that_is_not_served_is_found_out_in_setup(server: str) -> None:
    actor = OpenAIServer(base_url=server, served="another")
    with pytest.raises(RuntimeError, match=r"\('tiny'\), but is 'another'"):
        actor.setup()


def test_an_engine_that_broke_is_loaded_anew(engine: VLLM) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    vars(engine)["_llm"].llm_engine.step = broken
    with pytest.raises(RuntimeError, match="ended: RuntimeError: CUDA error: an illegal"):
        engine.process(moments(1, seed=60))
    assert engine.process(moments(1, seed=61))["answer"].null_count == 0


def test_pictures_can_be_shown_as_one_clip(engine: VLLM, models_dir: Path) -> None:
    engine.close()  # one engine at a time: they share the process
    clip = configured(models_dir, clip=True)
    clip.setup()
    try:
        asked = [question(4, seed=1), question(3, seed=2)]
        reference = tiny_vlm.Reference(models_dir / tiny_vlm.NAME, clip)
        assert said(clip, asked) == [reference(one, 48) for one in asked]
        assert clip.process(moments(2, seed=9))["answer"].null_count == 0
    finally:
        clip.close()


def test_a_model_that_its_memory_cannot_hold_is_refused_before_it_is_loaded(
    models_dir: Path,
) -> None:
    tight = configured(models_dir, memory_gb=0.25)
    with pytest.raises(ValueError, match=r"`memory_gb` must be greater than the weights \(0\.0\)"):
        tight.setup()


def test_vllm_looks_for_the_memory_that_the_plan_gave_it(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GB10 of 130.7 GB: a share of 28, of which 4 are the cache."""
    found = SimpleNamespace(total_memory=130_663_641_088)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    arguments = configured(models_dir, kv_cache_gb=4.0, memory_gb=28.0).arguments()
    assert arguments["kv_cache_memory_bytes"] == 4 * 10**9
    assert arguments["gpu_memory_utilization"] == pytest.approx(0.2143, abs=1e-4)
    arguments = configured(models_dir, memory_gb=500.0).arguments()
    assert arguments["gpu_memory_utilization"] == 0.95


def test_the_frames_of_a_clip_have_one_size() -> None:
    images = opened(question(2))
    made = frames([images[0], images[1].resize((50, 40))])
    assert made.shape == (2, 84, 112, 3)
    assert made.dtype == np.uint8


def test_a_clip_knows_its_rate() -> None:
    assert clip_metadata((1.0, 1.5, 2.0)) == {
        "fps": 2.0,
        "duration": 1.5,
        "total_num_frames": 3,
        "frames_indices": [0, 1, 2],
        "video_backend": "opencv",
        "do_sample_frames": False,
    }
    assert clip_metadata((1.0,))["fps"] == 1.0
