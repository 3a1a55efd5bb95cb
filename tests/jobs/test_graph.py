"""Manifests are pure functions of the tables before them; hashes follow what changes content."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mien.cluster.waves import Again, outstanding
from mien.datasets.manifest import FILES
from mien.jobs.graph import ROLES, UPSTREAM, Graph, media_s
from mien.jobs.main import built, configuration
from mien.jobs.manifests import MANIFESTS

ORDER = ["videos", "turns", "speech", "watch", "voice", "timeline"]
SPEECH = [{"start_s": 1.0, "stop_s": 3.0}, {"start_s": 50.0, "stop_s": 52.0}]
TURNS = [{**span, "speaker": f"SPEAKER_0{i}"} for i, span in enumerate(SPEECH)]
WORDS = [{"start_s": 1.2, "stop_s": 1.6, "word": "hello", "probability": 0.9}]


def graph(folder: Path, *words: str) -> Graph:
    """The graph of the embedded profile in a run's folder."""
    cfg = configuration("analyze", [f"corpus.path={folder}", f"out={folder / 'run'}", *words])
    return built(cfg.job).graph()  # type: ignore[attr-defined]


@pytest.fixture
def made(tmp_path: Path) -> Graph:
    return graph(tmp_path)


def files(*names: str) -> pa.Table:
    """A corpus; `a2` is a changed file `a`."""
    count = len(names)
    columns = {
        "id": [f"id-{name}" for name in names],
        "video_id": [name[0] for name in names],
        "uri": [f"{name[0]}.mp4" for name in names],
        "start_s": pa.nulls(count, pa.float64()),
        "stop_s": pa.nulls(count, pa.float64()),
        "size_bytes": [1] * count,
        "mtime_ns": [1] * count,
    }
    return pa.table(columns, schema=FILES)


def put(made: Graph, name: str, rows: list[dict[str, Any]], **more: object) -> None:
    """Write rows into a phase's table."""
    defaults = {"status": "ok", "attempt": 1, "config_hash": made.phases[name].hash}
    table = made.table(name)
    found = [{**defaults, **row, **more} for row in rows]
    table.write(pa.Table.from_pylist(found, schema=table.schema))


def probe(made: Graph, name: str, **more: object) -> None:
    """Let a file be probed: 70 s of sound and picture."""
    row = {"id": f"id-{name}", "video_id": name[0], "uri": f"{name[0]}.mp4", "fingerprint": name}
    facts = {"duration_s": 70.0, "fps": 25.0, "has_video": True, "has_audio": True}
    put(made, "videos", [{**row, **facts, **more}])


def do(made: Graph, name: str, corpus: pa.Table, attempt: int = 1, **more: object) -> None:
    """Let a phase answer all its outstanding rows."""
    stands = set(made.table(name).schema.names)
    keep = [c for c in MANIFESTS[name].names if c in stands]
    rows = made.manifest(name, corpus).select(keep).to_pylist()
    put(made, name, [{**row, "attempt": attempt, **more} for row in rows])


def hear(made: Graph, corpus: pa.Table, **more: object) -> None:
    do(
        made,
        "turns",
        corpus,
        **{"speech": SPEECH, "turns": TURNS, "exclusive_turns": TURNS, **more},
    )


def ids(made: Graph, name: str, corpus: pa.Table) -> list[str]:
    return made.manifest(name, corpus)["id"].to_pylist()


@pytest.mark.parametrize("name", ORDER)
def test_nothing_known_gives_an_empty_manifest_of_the_right_shape(made: Graph, name: str) -> None:
    corpus = files("a")
    manifest = made.manifest(name, corpus)
    if name == "videos":
        assert manifest.equals(corpus)
    else:
        assert len(manifest) == 0
        assert manifest.schema == MANIFESTS[name]
        made.phases[name].check(manifest.schema)


def test_the_rows_of_a_video(made: Graph) -> None:
    corpus = files("a")
    probe(made, "a")
    (turns,) = made.manifest("turns", corpus).to_pylist()
    assert (turns["start_s"], turns["stop_s"], turns["has_audio"]) == (0.0, 70.0, True)
    hear(made, corpus)
    speech = made.manifest("speech", corpus).to_pylist()
    assert [(r["start_s"], r["stop_s"]) for r in speech] == [(1.0, 3.0), (50.0, 52.0)]
    watch = made.manifest("watch", corpus).to_pylist()
    assert watch[0]["start_s"] == 0.0
    assert watch[-1]["stop_s"] == 70.0
    assert all(a["stop_s"] == b["start_s"] for a, b in pairwise(watch))
    assert all(r["stop_s"] - r["start_s"] <= 60.0 for r in watch)
    assert watch[0]["speech"] == SPEECH[:1]
    do(made, "speech", corpus, words=WORDS[:0])
    voice = made.manifest("voice", corpus).to_pylist()
    assert [r["text"] for r in voice] == [None, None]  # turns without a recognised word
    (timeline,) = made.manifest("timeline", corpus).to_pylist()
    assert {e["table"] for e in timeline["evidence"]} == {"turns", "speech"}


def test_ids_are_stable_and_unique(made: Graph, tmp_path: Path) -> None:
    corpus = files("a", "b")
    for name in ("a", "b"):
        probe(made, name)
    hear(made, corpus)
    do(made, "speech", corpus, words=WORDS)
    do(made, "watch", corpus)
    for name in ORDER:
        rows = ids(made, name, corpus)
        assert rows == ids(graph(tmp_path), name, corpus)
        assert rows
        assert len(set(rows)) == len(rows)
        assert sorted(rows) == sorted(ids(made, name, files("b", "a")))
    assert ids(made, "turns", files("b")) == ids(made, "turns", corpus)[1:]


def test_a_file_that_changed_has_other_rows_and_the_old_evidence_is_not_its(made: Graph) -> None:
    old, new = files("a"), files("a2")
    probe(made, "a")
    hear(made, old)
    before = {name: set(ids(made, name, old)) for name in ("turns", "speech", "watch", "timeline")}
    probe(made, "a2")
    assert len(made.manifest("speech", new)) == 0
    (timeline,) = made.manifest("timeline", new).to_pylist()
    assert timeline["evidence"] == []
    for name in ("turns", "watch", "timeline"):
        assert ids(made, name, new)
        assert not before[name] & set(ids(made, name, new))
    assert len(outstanding(made.table("turns"), made.manifest("turns", new))[0]) == 1


def test_a_file_that_cannot_be_probed_has_no_other_rows(made: Graph) -> None:
    corpus = files("a", "b")
    probe(made, "a")
    probe(made, "b", status="failed", duration_s=None, fingerprint=None)
    assert made.manifest("turns", corpus)["video_id"].to_pylist() == ["a"]
    assert media_s(corpus, made.table("videos")) == 70.0


def test_a_file_of_unknown_length_has_a_timeline_all_the_same(made: Graph) -> None:
    probe(made, "a", duration_s=None, has_video=False)
    for name, count in {"turns": 1, "watch": 0, "timeline": 1}.items():
        assert len(made.manifest(name, files("a"))) == count


@pytest.mark.parametrize("name", ["turns", "watch", "timeline"])
def test_a_file_without_sound_is_watched(made: Graph, name: str) -> None:
    corpus = files("a")
    probe(made, "a", has_audio=False)
    hear(made, corpus, speech=None, turns=None, exclusive_turns=None)
    assert ids(made, name, corpus)
    assert not ids(made, "speech", corpus)
    assert not ids(made, "voice", corpus)


def test_turns_that_failed_leave_no_speech_and_the_watching_stands(made: Graph) -> None:
    corpus = files("a")
    probe(made, "a")
    hear(made, corpus, status="failed", speech=None, turns=None, exclusive_turns=None)
    assert not ids(made, "speech", corpus)
    unheard = ids(made, "watch", corpus)
    assert unheard
    assert made.manifest("watch", corpus)["speech"].to_pylist() == [None] * len(unheard)
    (timeline,) = made.manifest("timeline", corpus).to_pylist()
    assert [e["table"] for e in timeline["evidence"]] == ["turns"]

    hear(made, corpus, attempt=2)  # `mien retry`
    assert ids(made, "speech", corpus)
    assert not set(unheard) & set(ids(made, "watch", corpus))  # watched anew, knowing the speech


def _key(row: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "video_id", "uri", "start_s", "stop_s", "fingerprint")
    return {name: row[name] for name in names}


def test_a_timeline_on_old_evidence_is_stale(made: Graph) -> None:
    corpus = files("a", "b")
    for name in ("a", "b"):
        probe(made, name)
    hear(made, corpus)
    do(made, "speech", corpus, words=None, status="failed")
    do(made, "timeline", corpus)
    assert made.stale("timeline", made.manifest("timeline", corpus)) == frozenset()

    first = made.manifest("speech", corpus).to_pylist()[0]
    put(made, "speech", [{**_key(first), "attempt": 2, "words": WORDS}])
    manifest = made.manifest("timeline", corpus)
    (stale,) = made.stale("timeline", manifest)
    assert stale == manifest["id"][0].as_py()
    again = Again(stale=lambda rows: {stale})
    todo, attempts = outstanding(made.table("timeline"), manifest, again)
    assert (todo["video_id"].to_pylist(), attempts) == (["a"], [2])


def test_what_was_said_is_in_the_name_of_an_utterance(made: Graph) -> None:
    corpus = files("a")
    probe(made, "a")
    hear(made, corpus)
    do(made, "speech", corpus, words=WORDS[:0], status="failed")
    silent = set(ids(made, "voice", corpus))
    first = made.manifest("speech", corpus).to_pylist()[0]
    put(made, "speech", [{**_key(first), "attempt": 2, "words": WORDS}])
    spoken = made.manifest("voice", corpus)
    assert "hello" in spoken["text"].to_pylist()
    assert len(set(spoken["id"].to_pylist()) - silent) == 1
    timeline = made.manifest("timeline", corpus).to_pylist()[0]
    assert silent  # rows of the first reading are no evidence of the second
    assert not any(e["table"] == "voice" for e in timeline["evidence"])


FOLLOWS = {
    "probe": ORDER,
    "voice_activity": ORDER[1:],
    "speakers": ORDER[1:],
    "sphinx": ["speech", "voice", "timeline"],
    "watch": ["watch", "timeline"],
    "identity": ["watch", "timeline"],
    "prosody": ["voice", "timeline"],
    "arousal": ["voice", "timeline"],
    "polarity": ["voice", "timeline"],
}


def configured(actor: str) -> object:
    """An actor of the profile."""
    job: Any = built(configuration("doctor", []).job)
    return job.models.actors[actor]


@pytest.mark.parametrize("actor", sorted(FOLLOWS))
def test_a_change_reaches_its_phase_and_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, actor: str
) -> None:
    def hashes() -> dict[str, str]:
        roles = ("models.roles.transcribe=[sphinx]", "models.roles.diarize=[speakers]")
        return {name: phase.hash for name, phase in graph(tmp_path, *roles).phases.items()}

    before = hashes()
    kind: Any = type(configured(actor))
    monkeypatch.setattr(kind, "version", kind.version + 1)
    after = hashes()
    assert [name for name in ORDER if after[name] != before[name]] == FOLLOWS[actor]


def test_a_parameter_changes_the_hash_and_the_machine_does_not(tmp_path: Path) -> None:
    def hashes(*words: str) -> dict[str, str]:
        return {name: phase.hash for name, phase in graph(tmp_path, *words).phases.items()}

    plain = hashes()
    changed = hashes("+models.actors.prosody.pause_s=0.5")
    assert {n for n in ORDER if plain[n] != changed[n]} == {"voice", "timeline"}
    machine = ["cluster.cores=1", "models.actors.watch.memory_gb=2", "models.name=other"]
    assert hashes(*machine, "+models.actors.prosody.batch_size=7") == plain
    assert hashes(f"out={tmp_path / 'elsewhere'}") == plain


def test_a_role_that_is_dropped_leaves_its_phase_out(tmp_path: Path) -> None:
    less = graph(tmp_path, "~models.roles.transcribe")
    assert list(less.phases) == [name for name in ORDER if name != "speech"]
    corpus = files("a")
    probe(less, "a")
    hear(less, corpus)
    assert len(less.manifest("voice", corpus)) == 2
    assert len(less.manifest("timeline", corpus)) == 1


def test_without_timelines_there_are_the_same_tables_alone(tmp_path: Path) -> None:
    whole, bare = graph(tmp_path), graph(tmp_path, "job.timelines=false")
    hashes = {name: phase.hash for name, phase in whole.phases.items()}
    assert hashes.pop("timeline")
    assert {name: phase.hash for name, phase in bare.phases.items()} == hashes


def test_every_phase_is_known_to_what_it_needs() -> None:
    order = list(ROLES)
    assert set(order) == set(UPSTREAM)
    for name, above in UPSTREAM.items():
        assert all(order.index(up) < order.index(name) for up in above)


def test_groups_are_the_manifest(made: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = files(*"dbeac")
    for name in "abcde":
        probe(made, name, status="failed" if name == "c" else "ok")
    hear(made, files("a", "b"))
    hear(made, corpus, speech=SPEECH[:1])  # in another file, and of `a` and `b` a second time
    do(made, "speech", corpus, words=WORDS)
    do(made, "watch", corpus)
    for name in ORDER:
        whole = made.manifest(name, corpus)
        monkeypatch.setattr("mien.jobs.manifests.GROUP", 2)
        groups = list(made.groups(name, corpus))
        monkeypatch.undo()
        assert pa.concat_tables(groups).equals(whole)
        assert [len(set(group["video_id"].to_pylist())) for group in groups] == (
            [2, 2, 1] if name == "videos" else [2, 1, 1]
        )
        assert whole["video_id"].to_pylist() == sorted(whole["video_id"].to_pylist())


def test_what_is_heard_of_a_watched_span_is_its_own(made: Graph) -> None:
    probe(made, "a")
    hear(made, files("a"))
    first, second = made.manifest("watch", files("a")).to_pylist()
    assert (first["speech"], second["speech"]) == (SPEECH[:1], SPEECH[1:])


def test_phases_that_do_not_need_each_other_stand_together(tmp_path: Path) -> None:
    assert graph(tmp_path).ranks() == [
        ["videos"],
        ["turns"],
        ["speech", "watch"],
        ["voice"],
        ["timeline"],
    ]


def test_a_moved_corpus_is_read_where_it_is_now(made: Graph) -> None:
    corpus = files("a")
    probe(made, "a")
    hear(made, corpus)
    before = made.manifest("timeline", corpus)
    do(made, "timeline", corpus)
    at = corpus.schema.get_field_index("uri")
    moved = corpus.set_column(at, corpus.schema.field(at), pa.array(["/elsewhere/a.mp4"]))
    assert ids(made, "watch", moved) == ids(made, "watch", corpus)
    assert set(made.manifest("watch", moved)["uri"].to_pylist()) == {"/elsewhere/a.mp4"}
    after = made.manifest("timeline", moved)
    assert after["id"].to_pylist() == before["id"].to_pylist()
    assert made.stale("timeline", before) == frozenset()
    assert made.stale("timeline", after) == frozenset(
        after["id"].to_pylist()
    )  # its page links to the file
