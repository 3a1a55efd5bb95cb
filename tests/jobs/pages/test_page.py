import json
import math
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from mien.jobs.pages import lanes, page
from mien.jobs.pages.lanes import Lanes, expression_runs
from mien.jobs.pages.markup import clean, href, script_json
from mien.jobs.pages.page import render, thin

HOSTILE = (
    "</script><img src=x onerror=alert(1)><!--\"'`\n\u2028${alert(1)} {{7*7}} @{x}{safe} "
    "\u202e\u05d0\u05d1\u05d2 \U0001f600 $$\\frac{1}{2}$$"
)


class Reader(HTMLParser):
    """What a browser would make of the markup: elements, their attributes, their text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[int, str] = {}
        self.inside = -1
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = len(self.tags)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.inside = -1

    def handle_data(self, data: str) -> None:
        self.text[self.inside] = self.text.get(self.inside, "") + data

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(a, self.text.get(i, "")) for i, (t, a) in enumerate(self.tags) if t == tag]


def timeline(text: str = "plain", **changes: object) -> dict[str, Any]:
    """A small timeline with `text` in every field that holds text."""
    judged = {"dominant": "happy", "scores": {"happy": 0.8, "sad": 0.2}, "confidence": 0.8}
    by_channel = {
        "face": {**judged, "window": text},
        "voice": {"arousal": 0.7, "dominance": None, "valence": None},
        "text": {"polarity": -0.5, "scores": None},
    }
    made: dict[str, Any] = {
        "schema": "mien.timeline/1",
        "video_id": text,
        "uri": f"/films/{text}",
        "duration": 10.0,
        "video": {
            "fps": 25.0, "width": 320, "height": 180, "has_audio": True, "has_video": True,
            "codec": text,
        },
        "models": [dict.fromkeys(("role", "model", "revision", "licence", "quality"), text)],
        "channels": {text: {"tier": text, "weight": 0.5, "reason": text}},
        "people": [
            {
                "person": text, "speaker": text, "on_screen_s": 8.0, "speech_s": None,
                "first_time": 0.0, "thumbnail_time": 1.0, "box": [10.0, 10.0, 50.0, 50.0],
            }
        ],
        "speakers": [{"speaker": text, "person": None, "speech_s": 3.0}],
        "shots": [{"start": 0.0, "end": 4.0}, {"start": 4.0, "end": 10.0}],
        "segments": [
            {
                "start": 1.0, "end": 3.0, "speaker": text, "person": text, "on_screen": True,
                "listener": {"person": text, "emotion": "sad", "confidence": 0.4},
                "transcript": text,
                "words": [{"start": 1.0, "end": 2.0, "word": text, "probability": 0.4}],
                "emotion": {**judged, "by_channel": by_channel},
                "prosody": {"pitch_hz": 120.0, "speech_rate_hz": 3.0},
                "behavioral_notes": [{"type": text, "timestamp": 1.5, "confidence": 0.5}],
                "conflict": True, "flags": [text],
            },
            {
                "start": 5.0, "end": 6.0, "speaker": None, "person": None, "on_screen": None,
                "listener": None, "transcript": None, "words": [],
                "emotion": {
                    "dominant": None, "scores": None, "confidence": None,
                    "by_channel": {"face": None, "voice": None, "text": None},
                },
                "prosody": None, "behavioral_notes": [], "conflict": None, "flags": [],
            },
        ],
        "tracks": [
            {"person": text, "start": 0.0, "end": 8.0,
             "samples": [[0.0, 10.0, 10.0, 50.0, 50.0], [8.0, 100.0, 20.0, 50.0, 50.0]]}
        ],
        "series": [
            {"person": text, "time": [0.0, 0.5, 1.0], "expression": ["happy", None, "sad"],
             "confidence": [0.9, None, 0.3], "valence": [0.5, None, -0.5]}
        ],
        "voice_series": [{"start": 1.0, "end": 3.0, "speaker": text, "arousal": 0.7}],
        "flags": [
            {"type": text, "start": 1.0, "end": 3.0, "segment": 0, "confidence": 0.6,
             "detail": text}
        ],
        "warnings": [text],
    }  # fmt: skip
    return made | changes


def data_of(html: str) -> dict[str, Any]:
    (found,) = [t for a, t in Reader(html).all("script") if a.get("id") == "data"]
    return json.loads(found)


def test_hostile_text_adds_no_markup() -> None:
    plain = Reader(render(timeline(), media="a.mp4", thumbnails=[]))
    hostile = Reader(render(timeline(HOSTILE), media=HOSTILE, thumbnails=[]))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert not [a for _, attrs in hostile.tags for a in attrs if a.startswith("on")]
    (video,) = hostile.all("video")
    assert re.fullmatch(r"[\w%./~-]+", video[0]["src"] or "")


def test_text_arrives_unchanged() -> None:
    text = HOSTILE.strip()
    data = data_of(render(timeline(text), media="a.mp4", thumbnails=[]))
    assert data["words"] == [[1.0, 2.0, text, 0.4]]
    assert data["people"][0]["person"] == data["flags"][0]["detail"] == text


def test_bokeh_gets_no_text_of_the_timeline() -> None:
    chart = data_of(render(timeline("qzxv"), media="a.mp4", thumbnails=[]))["chart"]
    assert "qzxv" not in json.dumps(chart)


def test_policy_names_the_scripts_and_nothing_else() -> None:
    page_of = Reader(render(timeline(HOSTILE), media="a.mp4", thumbnails=[]))
    (policy,) = [a["content"] for a, _ in page_of.all("meta") if "http-equiv" in a]
    assert policy
    run = [text for attrs, text in page_of.all("script") if "type" not in attrs]
    digests = {"sha256-" + b64encode(sha256(t.encode()).digest()).decode() for t in run}
    assert len(run) == 2
    assert set(re.findall(r"sha256-[\w+/=]+", policy)) == digests
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in re.findall(r"script-src ([^;]*)", policy)[0]


def test_page_loads_nothing() -> None:
    page_of = Reader(render(timeline(), media="a.mp4", thumbnails=[(1.0, b"\xff\xd8jpeg")]))
    loads = [a[k] for tag, a in page_of.tags for k in ("src", "href") if k in a and tag != "a"]
    assert loads == ["a.mp4"]


def test_nothing_known_is_still_a_page() -> None:
    bare = {"schema": "mien.timeline/1", "video_id": "v", "uri": "v.mp4", "duration": None}
    html = render(bare, media="v.mp4", thumbnails=[])
    assert "Nobody was seen or heard." in html
    assert data_of(html)["rows"][0]["kind"] == "film"


def test_unknown_is_not_neutral() -> None:
    row = Lanes()
    row.judgement("face", 0, (0, 1), (0, 9), None, None)
    row.judgement("face", 1, (0, 1), (0, 9), "neutral", 0.9)
    row.judgement("face", 2, (0, 1), (0, 9), "happy", 0.2)
    table = lanes.table(row.cells)
    names = [lanes.COLOURS[i] for i in table["colour"]]
    assert names == ["unknown", "neutral", "happy"]
    assert table["alpha"] == pytest.approx([0.0, 0.93, 0.44])
    assert list(table["hatch"] > 0) == [True, False, True]


def test_runs_reach_half_way_and_stop_at_gaps() -> None:
    one = {
        "person": "P",
        "time": [0.0, 1.0, 2.0, 10.0],
        "expression": ["happy", "happy", None, "happy"],
        "confidence": [0.8, 0.9, None, 0.85],
        "valence": [0.2, 0.4, None, None],
    }
    runs = expression_runs([one])
    assert [(r.start, r.end, r.label) for r in runs] == [
        (0.0, 1.5, "happy"),
        (1.5, 2.5, None),
        (9.5, 10.5, "happy"),
    ]
    assert runs[0].confidence == pytest.approx(0.85)
    assert runs[0].valence == pytest.approx(0.3)
    assert runs[1].confidence is None
    assert runs[2].valence is None


def test_very_many_samples_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_SAMPLES", 4)
    labels = ["sad", "sad", "happy", "happy", "happy", "sad", "angry", "angry"]
    one = {"person": "P", "time": np.arange(8) / 4, "expression": labels, "confidence": [0.6] * 8}
    runs = expression_runs([one])  # in pairs; of a tie the first in the list of labels
    assert [r.label for r in runs] == ["sad", "happy", "angry"]
    assert (runs[0].start, runs[-1].end) == (0.0, pytest.approx(1.875))


def test_thumbnails_are_thinned_evenly() -> None:
    found = [(i / 2, b"x" * 1000) for i in range(5000)]
    kept = thin(found, wanted=[777.7])
    times = [time_s for time_s, _ in kept]
    assert len(kept) == page.MAX_THUMBNAILS
    assert times == sorted(set(times))
    assert 777.5 in times
    assert (times[0], times[-1]) == (0.0, 2499.5)
    assert np.diff(times).max() < 3 * 2500 / len(kept)


def test_thumbnails_stay_under_their_share() -> None:
    kept = thin([(float(i), b"x" * 90_000) for i in range(300)])
    assert 0 < sum(len(jpeg) for _, jpeg in kept) <= page.MAX_THUMBNAIL_BYTES
    assert kept[-1][0] - kept[0][0] == 299
    assert thin([]) == []


def test_a_page_of_an_hour_is_small() -> None:
    word = {"start": 0.0, "end": 0.3, "word": "something", "probability": 0.5}
    first = timeline()["segments"][0]
    segments = [{**first, "start": 4.0 * i, "end": 4.0 * i + 3, "words": [word] * 10}
                for i in range(900)]  # fmt: skip
    ticks = np.arange(0, 3600, 0.1)
    series = [{"person": p, "time": ticks, "expression": ["happy", "sad", None, "fear"] * 9000,
               "confidence": [0.7] * 36000} for p in "AB"]  # fmt: skip
    boxes = [[float(t), 1.5, 2.5, 100.0, 100.0] for t in ticks]
    tracks = [{"person": p, "start": 0.0, "end": 3600.0, "samples": boxes} for p in "AB"]
    long = timeline(duration=3600.0, segments=segments, series=series, tracks=tracks)
    html = render(long, media="a.mp4", thumbnails=[(i * 3.0, b"x" * 8000) for i in range(1200)])
    assert len(html.encode()) < 5e6


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("../a b/ä#?%.mp4", "../a%20b/%C3%A4%23%3F%25.mp4"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("bad\udcff.mp4", "bad%FF.mp4"),
        ("https://example.org/a.mp4?x=1", "https://example.org/a.mp4?x=1"),
    ],
)
def test_addresses_are_quoted(path: str, address: str) -> None:
    assert href(path) == address


def test_clean_keeps_only_what_can_be_written() -> None:
    dirty = {"a": (math.inf, np.float32(0.5), "x\udcff", True, None, np.int64(3))}
    assert clean(dirty) == {"a": [None, 0.5, "x\ufffd", True, None, 3]}
    script_json(clean(dirty)).encode()
