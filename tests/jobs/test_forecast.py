"""What there is to do: from tables where there are some, from assumptions elsewhere."""

import json
import wave
from pathlib import Path

import pyarrow as pa
import pytest

from mien.cluster.findings import Store
from mien.cluster.plan import Machine, Measured, Node, RefusedError
from mien.cluster.waves import Again
from mien.datasets.manifest import FILES
from mien.jobs.expected import expected, record
from mien.jobs.forecast import Assumed, Forecast, forecast, header_s, hours
from mien.jobs.graph import Graph
from mien.jobs.main import built, configuration
from mien.jobs.pages.packing import packing
from mien.jobs.tiers import Rates, asker, bills, counted_moments, counted_tokens

SPEECH = [{"start_s": 0.0, "stop_s": 20.0}, {"start_s": 60.0, "stop_s": 80.0}]


def graph(folder: Path, *words: str) -> Graph:
    cfg = configuration("analyze", [f"corpus.path={folder}", f"out={folder / 'run'}", *words])
    return built(cfg.job).graph()  # type: ignore[attr-defined]


def files(*names: str, folder: Path = Path("/nowhere")) -> pa.Table:
    columns = {
        "id": [f"id-{name}" for name in names],
        "video_id": list(names),
        "uri": [str(folder / f"{name}.wav") for name in names],
        "start_s": pa.nulls(len(names), pa.float64()),
        "stop_s": pa.nulls(len(names), pa.float64()),
        "size_bytes": [1] * len(names),
        "mtime_ns": [1] * len(names),
    }
    return pa.table(columns, schema=FILES)


def put(made: Graph, name: str, *rows: dict) -> None:
    own = {"status": "ok", "attempt": 1, "config_hash": made.phases[name].hash, "uri": "x"}
    table = made.table(name)
    table.write(pa.Table.from_pylist([{**own, **row} for row in rows], schema=table.schema))


def probe(made: Graph, *names: str, seconds: float = 120.0) -> None:
    facts = {"duration_s": seconds, "fps": 25.0, "has_video": True, "has_audio": True}
    own = [{"id": f"id-{n}", "video_id": n, "fingerprint": n, **facts} for n in names]
    put(made, "videos", *own)


def heard(made: Graph, corpus: pa.Table, *names: str) -> None:
    rows = [r for r in made.manifest("turns", corpus).to_pylist() if r["video_id"] in names]
    keys = ("id", "video_id", "start_s", "stop_s", "fingerprint")
    put(made, "turns", *({**{k: r[k] for k in keys}, "speech": SPEECH} for r in rows))


def wav(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(8000 * seconds)))


def test_a_header_tells_the_length(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 3.0)
    (tmp_path / "b.wav").write_bytes(b"no sound at all")
    assert header_s(str(tmp_path / "a.wav")) == pytest.approx(3.0, abs=0.01)
    assert header_s(str(tmp_path / "b.wav")) is None
    assert header_s(str(tmp_path / "c.wav")) is None


def test_lengths_are_read_as_far_as_allowed_and_the_rest_is_guessed(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(8)]
    for i, name in enumerate(names):
        wav(tmp_path / f"{name}.wav", 1.0 + i % 2)
    corpus = files(*names, folder=tmp_path)
    every = hours(corpus, {}, 200)
    assert (every.probed, every.opened, every.guessed) == (0, 8, 0)
    assert every.total_h == pytest.approx(12 / 3600, rel=0.01)
    some = hours(corpus, {"v0": 100.0}, 3)
    assert (some.probed, some.opened, some.guessed) == (1, 3, 4)
    assert 100 + 7 <= some.total_h * 3600 <= 100 + 14
    assert "taken to be as long as the others" in str(some)
    none = hours(corpus, {"v0": 100.0}, 0)
    assert none.total_h * 3600 == pytest.approx(800)


def look(made: Graph, corpus: pa.Table, assumed: Assumed | None = None) -> Forecast:
    return forecast(made, corpus, assumed or Assumed())


def test_before_anything_ran_the_assumptions_hold_and_are_marked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        wav(tmp_path / f"{name}.wav", 90.0)
    corpus = files("a", "b", folder=tmp_path)
    made = graph(tmp_path)
    found = look(made, corpus, Assumed(speech=0.5, utterances=800))
    assert found.hours.total_h == pytest.approx(180 / 3600, rel=0.01)
    assert found.rows["voice"].per_hour == 400
    assert found.rows["voice"].total == pytest.approx(20, rel=0.01)
    assert found.rows["voice"].assumed
    assert found.rows["videos"].total == found.rows["videos"].todo == 2
    assert not found.rows["videos"].assumed
    more = look(made, corpus, Assumed(speech=0.5, utterances=1600))
    assert more.rows["voice"].total == pytest.approx(40, rel=0.01)


def test_where_tables_tell_nothing_is_assumed(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a", "b")
    probe(made, "a", "b")
    heard(made, corpus, "a", "b")
    found = look(made, corpus, Assumed(speech=1.0, chunk=0.1))
    rows = found.rows["speech"]
    assert rows.total == len(made.manifest("speech", corpus)) == rows.todo
    assert not rows.assumed
    assert found.rows["turns"].todo == 0
    assert found.hours.probed == 2


def test_a_part_that_is_known_stands_for_the_rest(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a", "b", "c", "d")
    probe(made, "a", "b", "c", "d")
    heard(made, corpus, "a")
    rows = look(made, corpus).rows["speech"]
    one = len([r for r in made.manifest("speech", corpus).to_pylist() if r["video_id"] == "a"])
    assert one
    assert rows.total == pytest.approx(4 * one)
    assert not rows.assumed


def test_a_file_that_cannot_be_read_is_no_work(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a", "broken")
    probe(made, "a")
    put(made, "videos", {"id": "id-broken", "video_id": "broken", "status": "failed"})
    found = look(made, corpus)
    assert found.rows["videos"].todo == 0
    assert found.rows["turns"].total == 1
    assert not found.rows["turns"].assumed


def test_failed_rows_count_again_where_they_are_tried_again(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a")
    put(made, "videos", {"id": "id-a", "video_id": "a", "status": "failed"})
    assert look(made, corpus).rows["videos"].todo == 0
    again = forecast(made, corpus, Assumed(), lambda name: Again(failed=True))
    assert again.rows["videos"].todo == 1


def test_what_will_be_written_is_as_large_as_what_stands(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a", "b", "c")
    probe(made, "a", "b", "c")
    before = look(made, corpus)
    assert before.rows["turns"].gb == pytest.approx(0.1 * 1.0 / 1e3)  # 0.1 h of 1 MB per hour
    assert before.gb > before.rows["watch"].gb == pytest.approx(0.1 * 150 / 1e3)
    heard(made, corpus, "a")
    (file,) = made.table("turns").files()
    rows = look(made, corpus).rows["turns"]
    assert rows.todo == 2
    assert rows.gb == pytest.approx(2 * file.stat().st_size / 1e9)


@pytest.mark.parametrize("wrong", [{"speech": 2.0}, {"chunk": 0.0}, {"cuts": -1.0}])
def test_wrong_assumptions_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`assume.{next(iter(wrong))}`"):
        Assumed(**wrong)  # type: ignore[arg-type]


LAPTOP = Machine(nodes=(Node(cpus=4, memory_gb=16),))


def test_a_phase_without_a_measured_speed_has_no_time(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a")
    probe(made, "a")
    found = look(made, corpus)
    phases = expected(made, LAPTOP, found, Store(tmp_path / "measured"))
    assert list(phases) == list(made.phases)
    assert phases["videos"].hours == 0  # nothing left to do
    assert phases["turns"].hours is None
    assert not phases["turns"].measured
    shown = record(phases, LAPTOP, found)
    assert shown["memory_gb"] == 16
    assert "expected: unknown" in packing(shown)


def test_measured_speed_becomes_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, corpus = graph(tmp_path), files("a", "b")
    probe(made, "a", "b", seconds=1800)
    known = Measured(startup_s=10.0, memory_gb={1: 1.0}, rates={1: 0.01})
    monkeypatch.setattr(Store, "find", lambda self, actor, row_s=None: known)
    found = look(made, corpus)
    phases = expected(made, LAPTOP, found, Store(tmp_path))
    turns = phases["turns"]
    assert turns.measured
    # 2 rows, 2 actors in one worker at 0.01 rows/s each, 2 workers that are set up in turn.
    assert turns.hours == pytest.approx((2 * 2 / 0.01 / 2 + 2 * 2 * 10) / 3600)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a")
    small = Machine(nodes=(Node(cpus=4, memory_gb=0.35),))
    with pytest.raises(RefusedError, match=r"GB"):
        expected(made, small, look(made, corpus), Store(tmp_path))


def test_the_record_of_a_plan_is_json(tmp_path: Path) -> None:
    made, corpus = graph(tmp_path), files("a")
    machine = Machine(nodes=(Node(cpus=4, memory_gb=None, gpus=1, gpu_memory_gb=80),))
    found = forecast(made, corpus, Assumed(headers=0))
    shown = record(expected(made, machine, found, Store(tmp_path)), machine, found)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["memory_gb"] is None
    assert shown["gpu_memory_gb"] == 80


def test_what_a_run_has_counted_takes_the_place_of_what_is_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anthropic")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    made, corpus = graph(tmp_path, "models=hybrid"), files("a", "b")
    probe(made, "a", "b", seconds=1800)
    moment = {"start_s": 0.0, "stop_s": 1.0, "kind": "flag", "frames": []}
    own = {"id": "m", "video_id": "a", "start_s": 0.0, "stop_s": 9.0}
    put(made, "moments", {**own, "moments": [moment] * 7, "digest": "x", "fingerprint": "a"})
    note = {**own, "kind": "flag", "answered_by": "claude-sonnet-5-5-20261101"}
    put(
        made,
        "notes",
        {**note, "id": "n1", "input_tokens": 1000, "output_tokens": 100},
        {**note, "id": "n2", "input_tokens": 2000, "output_tokens": 300},
    )
    found = forecast(made, corpus, Assumed())
    assert counted_moments(made, found) == {"flag": 14.0}
    (usage,) = counted_tokens(made).values()
    assert (usage.input, usage.output) == (1500, 200)
    one = asker(made.profile)
    assert one is not None
    local, hybrid, full = bills(made, found, {"hybrid": one}, Rates(), None)
    faceless = Assumed().faceless
    assert hybrid.questions == 14 + faceless
    assert local.dollars == 0 < hybrid.dollars < full.dollars
    lit = bills(made, found, {"hybrid": one}, Rates(watts=200, usd_per_kwh=0.5), 2.0)
    assert lit[0].dollars == pytest.approx(0.2)
    assert lit[1].dollars == pytest.approx(hybrid.dollars + 0.2)
    assert lit[2].dollars == full.dollars
    _, other, _ = bills(made, found, {"premium": one}, Rates(), None)  # asks otherwise: assumed
    assert other.questions == Assumed().flags + faceless
    assert other.input_tokens != hybrid.input_tokens


def test_moments_of_videos_that_left_the_corpus_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anthropic")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    made = graph(tmp_path, "models=hybrid")
    probe(made, "a", "b", seconds=1800)
    moment = {"start_s": 0.0, "stop_s": 1.0, "kind": "flag", "frames": []}
    own = {"start_s": 0.0, "stop_s": 9.0, "digest": "x", "moments": [moment] * 7}
    put(made, "moments", *({**own, "id": n, "video_id": n, "fingerprint": n} for n in "ab"))
    found = forecast(made, files("a"), Assumed())
    assert counted_moments(made, found) == {"flag": 14.0}
