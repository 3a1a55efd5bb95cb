"""The real SDK against a local server that answers as Hume's documentation has it."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("hume_expression_measurement")

from hume_expression_measurement.core.api_error import ApiError

from mien.actors.budget import BudgetError, ledger_table
from mien.actors.hume import HUME_FACE, HUME_VOICE, HumeFace, HumeVoice

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]

WINDOW = {
    "measurement_id": 0,
    "utterance_id": 0,
    "audio_start_ms": 500,
    "audio_end_ms": 1500,
    "trigger": "speech_ended",
    "expressions": [{"name": "joy", "probability": 0.75}, {"name": "new one", "probability": 0.5}],
    "voice_attributes": [{"name": "husky", "probability": 0.8125}],
}
FACE = {
    "face_id": 0,
    "bbox": [1.0, 2.0, 30.0, 40.0],
    "confidence": 0.875,
    "expressions": [{"name": "surprise (positive)", "probability": 0.25}],
    "descriptions": [],
}
UNMEASURED = {**FACE, "face_id": None, "expressions": None, "descriptions": None}


@dataclass
class Server:
    """What was asked, and what is to be answered.

    Attributes:
        statuses: Of the next answers; 200 where none is left.
        bodies: Path and content of every request.
        faces: Of the pictures, in order.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    faces: list[list[dict]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.state.bodies.append((self.path, body))
        status = self.state.statuses.pop(0) if self.state.statuses else 200
        if self.headers["x-hume-api-key"] != "key":
            status = 401
        content: dict[str, Any] = {"request_id": "req", "run_id": "run"}
        if status != 200:
            content = {"type": "error", "code": "audio_decode_failed", "message": "no"}
            content["request_id"] = "req"
        elif "audio" in self.path:
            content["received"] = {"audio_duration_ms": 2000}
            content["utterances"] = []
            content["measurements"] = [WINDOW]
        else:
            count = len(re.findall(rb'filename="\d+\.jpg"', body))
            faces, self.state.faces = self.state.faces[:count], self.state.faces[count:]
            content["received"] = {"frames": count}
            content["measurements"] = [{"frame_id": i, "faces": f} for i, f in enumerate(faces)]
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HUME_API_KEY", "key")
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    http.shutdown()
    http.server_close()


def voice(server: Server, folder: Path, **fields: Any) -> HumeVoice:  # noqa: ANN401
    actor = HumeVoice(folder=str(folder), base_url=server.url, **fields)
    actor.setup()
    return actor


def spans(*starts: float) -> pa.Table:
    count = len(starts)
    return pa.table(
        {"uri": ["a"] * count, "start_s": list(starts), "stop_s": [s + 2 for s in starts]}
    )


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(uri: str, start_s: float = 0.0, stop_s: float = 0.0) -> Any:  # noqa: ANN401
        if uri == "silent":
            return None
        return np.arange(start_s * 16000, stop_s * 16000, dtype=np.float32) / 1e6

    monkeypatch.setattr("mien.actors.sound.read", read)


@pytest.mark.usefixtures("sound")
def test_a_voice_is_measured_in_windows(server: Server, tmp_path: Path) -> None:
    table = voice(server, tmp_path, every_ms=1500).process(spans(0.0, 40.0))
    assert table.schema == HUME_VOICE
    first, second = table["hume_voice"].to_pylist()
    joy = [{"name": "joy", "score": 0.75}, {"name": "new one", "score": 0.5}]
    husky = [{"name": "husky", "score": 0.8125}]
    window = {"start_s": 0.5, "stop_s": 1.5, "expressions": joy, "attributes": husky}
    assert first == [window]
    assert second == [{**window, "start_s": 40.5, "stop_s": 41.5}]  # of the media, not of the file
    path, body = server.bodies[0]
    assert path == "/v1/expression/audio/file"
    assert b'{"measurement_timer_ms": 1500}' in body or b'"measurement_timer_ms":1500' in body
    assert b"RIFF" in body


@pytest.mark.usefixtures("sound")
def test_no_sound_is_null(server: Server, tmp_path: Path) -> None:
    rows = pa.table({"uri": ["silent"], "start_s": [0.0], "stop_s": [1.0]})
    assert voice(server, tmp_path).process(rows)["hume_voice"].to_pylist() == [None]
    assert server.bodies == []


@pytest.mark.usefixtures("sound")
def test_what_was_asked_once_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    first = voice(server, tmp_path).process(spans(0.0))
    again = voice(server, tmp_path, most_requests=0).process(spans(0.0))
    assert first == again
    assert len(server.bodies) == 1


@pytest.mark.usefixtures("sound")
def test_requests_are_budgeted(server: Server, tmp_path: Path) -> None:
    actor = voice(server, tmp_path, most_requests=2)
    actor.process(spans(0.0, 20.0))
    with pytest.raises(BudgetError, match=r"`most_requests` is 2, of which 2 requests are spent"):
        actor.process(spans(40.0))
    assert len(server.bodies) == 2
    assert ledger_table(tmp_path / "hume")["request_id"].to_pylist() == ["req", "req"]


@pytest.mark.usefixtures("sound")
def test_what_passes_is_tried_again_and_what_does_not_is_not_spent(
    server: Server, tmp_path: Path
) -> None:
    actor = voice(server, tmp_path)
    server.statuses = [503]
    assert actor.process(spans(0.0))["hume_voice"].to_pylist()[0]
    assert len(server.bodies) == 2
    server.statuses = [400]
    with pytest.raises(ApiError):
        actor.process(spans(40.0))
    assert len(server.bodies) == 3
    assert sorted(ledger_table(tmp_path / "hume")["state"].to_pylist()) == ["released", "settled"]


def test_faces_stay_parallel_to_their_crops(server: Server, tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    crops = [[jpeg, None, jpeg + b" "], None, [], [jpeg + b"  "], [jpeg + b"   "]]
    kind = pa.list_(pa.struct([("track", pa.int32()), ("crop", pa.binary())]))
    faces = [None if c is None else [{"track": 0, "crop": one} for one in c] for c in crops]
    server.faces = [[FACE, UNMEASURED], [], [UNMEASURED], [{**FACE, "confidence": 0.5}]]
    actor = HumeFace(folder=str(tmp_path), base_url=server.url, threshold=0.25)
    actor.setup()
    table = actor.process(pa.table({"faces": pa.array(faces, kind)}))
    assert table.schema == HUME_FACE
    seen = {
        "confidence": 0.875,
        "expressions": [{"name": "surprise (positive)", "score": 0.25}],
        "descriptions": [],
    }
    assert table["hume_face"].to_pylist() == [
        *([seen, None, None], None, [], [None]),
        [{**seen, "confidence": 0.5}],
    ]
    ((path, body),) = server.bodies  # all rows in one request
    assert path == "/v1/expression/video/file"
    assert b"threshold" in body
