"""The roles beyond the embedded profile: their phases, manifests, and who may fill them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mien.actors.actor import MACHINE, Actor
from mien.actors.weights import Weights
from mien.datasets import schema
from mien.datasets.manifest import FILES
from mien.datasets.store import place
from mien.datasets.table import Table
from mien.jobs.graph import Graph
from mien.jobs.main import built, configuration
from mien.jobs.manifests import MANIFESTS, Segmentation
from mien.jobs.moments import MOMENTS, Choice
from mien.jobs.profile import Profile, UnfilledError


@dataclass(kw_only=True)
class Filler(Actor):
    """Stands in a role, and is never run here."""

    reads = ("uri",)
    adds = pa.schema([])
    model = "filler"
    licence = "MIT"

    columns: tuple[str, ...] = ()
    licensed: str | None = None
    folder: str | None = field(default=None, metadata=MACHINE)
    weights_set: Weights | None = None

    def __post_init__(self) -> None:
        every = {f.name: f for s in SCHEMAS for f in s}
        self.adds = pa.schema([every[name] for name in self.columns])  # type: ignore[misc]
        self.licence = self.licensed or "MIT"  # type: ignore[misc]

    def process(self, rows: pa.Table) -> pa.Table:
        raise NotImplementedError


SCHEMAS = (
    *(schema.SOUND, schema.IDENTITY, schema.MATCHES, schema.FACE_EMOTIONS),
    *(schema.LAION_VOICE, schema.NOTE, schema.MICRO),
)
FILLERS: Mapping[str, tuple[str, ...]] = {
    "enhance": ("sound_uri",),
    "face_emotion": ("face_emotions",),
    "identity": ("face_embeddings", "face_matches"),
    "laion_voice": ("laion_voice",),
    "micro": ("candidates", "face_s", "micro_warning"),
    "notes": ("answer", "summary", "emotion", "confidence", "dollars", "answered_by"),
}


def profile(folder: Path, *roles: str, **more: Any) -> Profile:  # noqa: ANN401
    """The embedded profile with some roles filled besides."""
    cfg = configuration("analyze", [f"corpus.path={folder}", f"out={folder / 'run'}"])
    base: Profile = built(cfg.job).models  # type: ignore[attr-defined]
    actors = {**base.actors, **{f"own_{r}": Filler(columns=FILLERS[r]) for r in roles}}
    filled = {**base.roles, **{role: [f"own_{role}"] for role in roles}}
    return Profile(name="test", actors=actors, roles=filled, **more)


def graph(folder: Path, *roles: str, mode: str = "turns", **more: Any) -> Graph:  # noqa: ANN401
    return Graph(
        profile=profile(folder, *roles, **more),
        run=folder / "run",
        span_s=60.0,
        chunk_s=30.0,
        segmentation=Segmentation(mode=mode, pps=0.2),
    )


def corpus() -> pa.Table:
    row = {"id": "id-a", "video_id": "a", "uri": "a.mp4", "size_bytes": 1, "mtime_ns": 1}
    return pa.Table.from_pylist([{**row, "start_s": None, "stop_s": None}], schema=FILES)


def put(made: Graph, name: str, rows: list[dict[str, Any]]) -> Table:
    table = made.table(name)
    outcome = {"status": "ok", "attempt": 1, "config_hash": made.phases[name].hash}
    key = {"video_id": "a", "uri": "a.mp4", "fingerprint": "a"}
    found = [{**outcome, **key, **row} for row in rows]
    table.write(pa.Table.from_pylist(found, schema=table.schema))
    return table


SPEECH = [{"start_s": 1.0, "stop_s": 3.0}]
TURNS = [{**SPEECH[0], "speaker": "SPEAKER_00"}]


def known(made: Graph) -> None:
    """Let the video be probed, heard and watched."""
    facts = {"duration_s": 70.0, "fps": 25.0, "has_video": True, "has_audio": True}
    put(made, "videos", [{"id": "id-a", **facts}])
    (turns,) = made.manifest("turns", corpus()).to_pylist()
    put(made, "turns", [{**keyed(turns), "speech": SPEECH, "exclusive_turns": TURNS}])
    watch = made.manifest("watch", corpus()).to_pylist()
    cut = {"time_s": 40.0, "detector": "content", "score": 1.0}
    put(
        made,
        "watch",
        [{**keyed(row), "frames": [], "faces": [], "cuts": [cut]} for row in watch[:1]],
    )
    put(made, "watch", [{**keyed(row), "frames": [], "faces": [], "cuts": []} for row in watch[1:]])


def keyed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "start_s", "stop_s")}


def test_identity_joins_the_watching_where_it_is_alone(tmp_path: Path) -> None:
    made = graph(tmp_path, "identity")
    assert [s.role for s in made.phases["watch"].stages] == ["watch", "identity"]
    assert "faces" not in made.phases


def test_identity_goes_with_the_other_face_models(tmp_path: Path) -> None:
    made = graph(tmp_path, "identity", "face_emotion")
    assert [s.role for s in made.phases["watch"].stages] == ["watch"]
    roles = [s.role for s in made.phases["faces"].stages]
    assert roles == ["recall", "identity", "face_emotion"]


def test_the_pictures_do_not_stand_in_the_table_again(tmp_path: Path) -> None:
    names = graph(tmp_path, "identity", "face_emotion").table("faces").schema.names
    assert {"face_emotions", "face_embeddings", "face_matches"} <= set(names)
    assert not {"faces", "frames", "cuts"} & set(names)


def test_a_row_of_faces_points_at_the_watched_span(tmp_path: Path) -> None:
    made = graph(tmp_path, "face_emotion")
    known(made)
    manifest = made.manifest("faces", corpus())
    assert manifest.schema == MANIFESTS["faces"]
    made.phases["faces"].check(manifest.schema)
    places = {row["id"]: row["file"] for row in made.table("watch").locate(["a"])}
    rows = manifest.to_pylist()
    assert [r["start_s"] for r in rows] == [0.0, 35.0]
    assert len({r["watched"]["file"] for r in rows}) == 2
    assert all(places[r["watched"]["id"]] == r["watched"]["file"] for r in rows)


def test_spotting_reads_the_file_and_what_was_watched(tmp_path: Path) -> None:
    made = graph(tmp_path, "micro")
    assert [s.role for s in made.phases["micro"].stages] == ["recall", "micro"]
    assert not {"signals", "speech"} & set(made.table("micro").schema.names)
    known(made)
    manifest = made.manifest("micro", corpus())
    assert manifest.schema == MANIFESTS["micro"]
    first, second = manifest.to_pylist()
    watch = {row["id"]: row for row in made.table("watch").locate(["a"])}
    for row in (first, second):
        seen = watch[row["watched"]["id"]]
        assert (row["start_s"], row["stop_s"]) == (seen["start_s"], seen["stop_s"])
        assert (row["fps"], row["uri"]) == (25.0, "a.mp4")
    assert (first["speech"], second["speech"]) == (SPEECH, [])
    put(made, "micro", [{**keyed(first), "candidates": [], "face_s": 1.0}])
    tables = {e["table"] for e in made.manifest("timeline", corpus())["evidence"].to_pylist()[0]}
    assert "micro" in tables


def test_without_spotting_nothing_is_named_otherwise(tmp_path: Path) -> None:
    plain, spotting = graph(tmp_path), graph(tmp_path, "micro")
    assert "micro" not in plain.phases
    for name in ("turns", "watch", "voice"):
        assert plain.phases[name].hash == spotting.phases[name].hash
    assert plain.phases["timeline"].hash != spotting.phases["timeline"].hash


def test_recalled_signals_are_those_of_the_row(tmp_path: Path) -> None:
    made = graph(tmp_path, "micro")
    known(made)
    (recall, _) = made.phases["micro"].stages
    recall.actor.setup()
    found = recall.actor.process(made.manifest("micro", corpus()))
    assert found.schema.names == ["signals"]
    assert len(found) == 2
    rows = made.manifest("micro", corpus())
    assert recall.actor.passes == ("signals",)
    assert set(rows["watched"].to_pylist()[0]) == {"file", "id"}


def test_enhanced_sound_is_heard_where_the_run_lies_now(tmp_path: Path) -> None:
    made = graph(tmp_path, "enhance")
    put(made, "videos", [{"id": "id-a", "duration_s": 70.0, "has_audio": True, "has_video": True}])
    (sound,) = made.manifest("sound", corpus()).to_pylist()
    assert made.manifest("turns", corpus())["sound_uri"].to_pylist() == [None]  # not made yet
    put(made, "sound", [{**keyed(sound), "sound_uri": "/before/the/move/sound/x.flac"}])
    wanted = [str(tmp_path / "run" / "sound" / "x.flac")]
    assert made.manifest("turns", corpus())["sound_uri"].to_pylist() == wanted
    known_turns = made.manifest("turns", corpus()).to_pylist()[0]
    put(made, "turns", [{**keyed(known_turns), "speech": SPEECH, "exclusive_turns": TURNS}])
    assert made.manifest("speech", corpus())["sound_uri"].to_pylist() == wanted
    assert "sound_uri" not in made.manifest("voice", corpus()).column_names


def test_enhancing_changes_what_is_heard_and_not_what_is_seen(tmp_path: Path) -> None:
    with_it, without = graph(tmp_path, "enhance").phases, graph(tmp_path).phases
    assert with_it["turns"].hash != without["turns"].hash
    assert with_it["videos"].hash == without["videos"].hash


@pytest.mark.parametrize(
    ("mode", "spans"),
    [
        ("turns", [(1.0, 3.0)]),
        ("voice_activity", [(1.0, 3.0)]),
        ("fixed", [(5.0 * i, 5.0 * i + 5.0) for i in range(14)]),
        ("scenes", [(0.0, 20.0), (20.0, 40.0), (40.0, 70.0)]),
    ],
)
def test_sound_is_cut_as_asked(tmp_path: Path, mode: str, spans: list[tuple[float, float]]) -> None:
    made = graph(tmp_path, "laion_voice", mode=mode)
    known(made)
    rows = made.manifest("segments", corpus()).to_pylist()
    assert [(r["start_s"], r["stop_s"]) for r in rows] == spans


def test_how_sound_is_cut_is_part_of_the_hash(tmp_path: Path) -> None:
    one, two = (graph(tmp_path, "laion_voice", mode=m).phases for m in ("turns", "fixed"))
    assert one["segments"].hash != two["segments"].hash
    assert one["turns"].hash == two["turns"].hash


def test_moments_become_rows_with_pointers_to_their_frames(tmp_path: Path) -> None:
    made = graph(tmp_path, "notes", moments=Choice(kinds=("flag", "no_face")))
    known(made)
    (row,) = made.manifest("moments", corpus()).to_pylist()
    watch = made.table("watch").locate(["a"])
    frames = [{"id": r["id"], "index": 0, "time_s": r["start_s"]} for r in watch]
    moment = {"start_s": 1.0, "stop_s": 3.0, "kind": "flag", "reason": "conflict", "frames": frames}
    moments = pa.array([[moment]], MOMENTS.field("moments").type).to_pylist()[0]
    put(made, "moments", [{**keyed(row), "moments": moments, "digest": row["digest"]}])
    (note,) = made.manifest("notes", corpus()).to_pylist()
    assert (note["kind"], note["reason"], note["start_s"]) == ("flag", "conflict", 1.0)
    places = {r["id"]: r["file"] for r in watch}
    assert [f["file"] for f in note["frames"]] == [places[f["id"]] for f in frames]
    made.phases["notes"].check(made.manifest("notes", corpus()).schema)


def test_the_timeline_knows_the_notes_and_the_moments_do_not(tmp_path: Path) -> None:
    made = graph(tmp_path, "notes", "face_emotion")
    order = list(made.phases)
    assert order[-3:] == ["moments", "notes", "timeline"]
    assert made.phases["notes"].upstream == (made.phases["moments"].hash,)
    assert made.phases["notes"].hash in made.phases["timeline"].upstream
    assert made.phases["notes"].hash not in made.phases["moments"].upstream


def test_moments_are_chosen_again_when_the_evidence_changed(tmp_path: Path) -> None:
    made = graph(tmp_path, "notes")
    known(made)
    (row,) = made.manifest("moments", corpus()).to_pylist()
    put(made, "moments", [{**keyed(row), "moments": [], "digest": "another"}])
    assert made.stale("moments", made.manifest("moments", corpus())) == {row["id"]}
    assert made.stale("watch", made.manifest("watch", corpus())) == frozenset()


def test_actors_keep_their_files_in_the_run(tmp_path: Path) -> None:
    made = graph(tmp_path, "enhance", "notes")
    folders = {s.role: getattr(s.actor, "folder", None) for s in made.stages()}
    assert folders["enhance"] == str(tmp_path / "run" / "sound")
    assert folders["notes"] == str(tmp_path / "run" / "api")


def test_faces_need_somebody_who_watches(tmp_path: Path) -> None:
    made = profile(tmp_path, "face_emotion")
    roles = {k: v for k, v in made.roles.items() if k != "watch"}
    blind = Profile(name="blind", actors=made.actors, roles=roles)
    with pytest.raises(ValueError, match=r"models\.roles\.watch.*face_emotion"):
        Graph(profile=blind, run=tmp_path, span_s=60.0, chunk_s=30.0)


def test_all_that_is_missing_is_one_error(tmp_path: Path) -> None:
    made = profile(tmp_path, "face_emotion", "laion_voice")
    for name in ("own_face_emotion", "own_laion_voice"):
        actor = made.actors[name]
        actor.weights_set = Weights(name=f"org/{name}", licence="MIT")  # type: ignore[attr-defined]
    with pytest.raises(UnfilledError) as error:
        Graph(profile=made, run=tmp_path, span_s=60.0, chunk_s=30.0)
    text = str(error.value)
    assert "face_emotion" in text
    assert "laion_voice" in text
    assert "org/own_face_emotion" in text
    assert "mien fetch models=test" in text


def test_a_non_commercial_model_needs_permission(tmp_path: Path) -> None:
    def asked(*, allow_nc: bool) -> Profile:
        made = profile(tmp_path, "face_emotion", "laion_voice", allow_nc=allow_nc)
        for name in ("own_face_emotion", "own_laion_voice"):
            made.actors[name].licence = "CC-BY-NC-4.0"  # type: ignore[misc]
        return made

    with pytest.raises(UnfilledError) as error:
        Graph(profile=asked(allow_nc=False), run=tmp_path, span_s=60.0, chunk_s=30.0)
    assert str(error.value).count("CC-BY-NC-4.0") == 2
    assert "licence.allow_nc=true" in str(error.value)
    Graph(profile=asked(allow_nc=True), run=tmp_path, span_s=60.0, chunk_s=30.0)


def test_what_was_heard_before_the_enhancement_is_heard_again(tmp_path: Path) -> None:
    """`mien retry` enhances at last: turns and words of the plain sound do not stand for it."""
    made = graph(tmp_path, "enhance")
    put(made, "videos", [{"id": "id-a", "duration_s": 70.0, "has_audio": True, "has_video": True}])
    (plain,) = made.manifest("turns", corpus()).to_pylist()
    put(made, "turns", [{**keyed(plain), "speech": SPEECH, "exclusive_turns": TURNS}])
    before = made.manifest("speech", corpus())["id"].to_pylist()
    assert before
    (sound,) = made.manifest("sound", corpus()).to_pylist()
    put(made, "sound", [{**keyed(sound), "sound_uri": "x.flac"}])
    (enhanced,) = made.manifest("turns", corpus()).to_pylist()
    assert enhanced["id"] != plain["id"]
    assert not len(made.manifest("speech", corpus()))  # not before the turns are found anew
    put(made, "turns", [{**keyed(enhanced), "speech": SPEECH, "exclusive_turns": TURNS}])
    after = made.manifest("speech", corpus())["id"].to_pylist()
    assert len(after) == len(before)
    assert not set(after) & set(before)


def test_moments_of_spans_that_were_watched_anew_are_not_shown(tmp_path: Path) -> None:
    made = graph(tmp_path, "notes")
    known(made)
    (row,) = made.manifest("moments", corpus()).to_pylist()
    frames = [{"id": "of another time", "index": 0, "time_s": 1.0}]
    moment = {"start_s": 1.0, "stop_s": 3.0, "kind": "flag", "frames": frames}
    put(made, "moments", [{**keyed(row), "moments": [moment], "digest": row["digest"]}])
    assert not len(made.manifest("notes", corpus()))


def test_an_actor_for_a_gpu_is_passed_over_where_there_is_none(tmp_path: Path) -> None:
    def filled(gpus: int) -> Profile:
        made = profile(tmp_path, "face_emotion", gpus=gpus)
        made.actors["own_face_emotion"].gpus = 0.5
        made.roles["face_emotion"].append("own_spare")
        made.actors["own_spare"] = Filler(columns=FILLERS["face_emotion"])
        return made

    assert filled(1).stage("face_emotion").actor.gpus == 0.5
    assert filled(0).stage("face_emotion").actor.gpus == 0
    alone = filled(0)
    alone.roles["face_emotion"].pop()
    with pytest.raises(UnfilledError, match="needs a GPU"):
        alone.stage("face_emotion")


def test_roles_that_keep_files_need_a_file_system(tmp_path: Path) -> None:
    run = place("memory://bucket/run")
    assert Graph(profile=profile(tmp_path), run=run, span_s=60, chunk_s=30).phases
    with pytest.raises(
        ValueError, match=r"for the roles enhance, notes \(.* is 'memory://bucket/run'"
    ):
        Graph(profile=profile(tmp_path, "enhance", "notes"), run=run, span_s=60, chunk_s=30)
