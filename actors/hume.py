"""What Hume's expression API hears in a voice and sees in a face: an optional plugin.

The API of October 2026 (the one before it ended in June 2026). Its scores are independent
probabilities, sparse (what is below its own cut-off is left out, so an absent name is no zero),
and its names are open: they are kept as they come. There is no public table of prices, so the
budget is a number of requests.
"""

import io
import json
import os
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ..datasets.audio import RATE_HZ
from ..datasets.ragged import flatten, regroup
from ..datasets.schema import F32, F64, rows
from .actor import MACHINE, Actor, answer
from .answers import Answers, content_hash, keyless
from .budget import Budget, Wish
from .prices import Usage
from .sound import Samples, listen

KEY = "HUME_API_KEY"
MOST_BYTES = 24_000_000
"""Of one request, with its envelope below the 25 MB of the API."""
MOST_PICTURE_BYTES = 2_000_000
MOST_PICTURES = 100

SCORES = rows(("name", pa.string()), ("score", F32))
HUME_VOICE = pa.schema(  # windows of at most 10 s of speech, which may overlap; null: no sound
    [
        (
            "hume_voice",
            rows(
                *(("start_s", F64), ("stop_s", F64)),
                *(("expressions", SCORES), ("attributes", SCORES)),
            ),
        )
    ]
)
HUME_FACE = pa.schema(  # parallel to `faces`; null where the API finds no face in the crop
    [("hume_face", rows(("confidence", F32), ("expressions", SCORES), ("descriptions", SCORES)))]
)


@dataclass(kw_only=True)
class Hume(Actor):
    """What both actors share: the client, the answers on disk, the budget.

    Attributes:
        folder: Where ledger and answers are kept: the run's; all workers share it.
        most_requests: What may be asked from `folder`, by all workers and all runs together.
        base_url: Of a gateway; `None`: Hume's.
        timeout_s: Of one request.
        max_retries: By the SDK itself, after 408, 429, 5xx and cut connections.
    """

    remote: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("hume_expression_measurement",)
    model: ClassVar[str] = "Hume expression measurement"
    revision: ClassVar[str] = "2026-10"
    licence: ClassVar[str] = "LicenseRef-Hume-Terms"
    quality: ClassVar[str] = (
        "Not measured here: a limited release behind a key; only its documented answers were tried."
    )

    folder: str | None = field(default=None, metadata=MACHINE)
    most_requests: int = field(default=1000, metadata=MACHINE)
    base_url: str | None = field(default=None, metadata=MACHINE)
    timeout_s: float = field(default=60.0, metadata=MACHINE)
    max_retries: int = field(default=2, metadata=MACHINE)

    def __post_init__(self) -> None:
        self._budget(Path())
        keyless(self.base_url)
        if self.timeout_s <= 0:
            raise ValueError(f"`timeout_s` must be greater than 0, but is {self.timeout_s}.")

    def missing(self) -> str | None:
        """Also why nobody can be asked: there is no key."""
        key = None
        if not os.environ.get(KEY):
            key = f"needs a key of Hume's API in the environment: `export {KEY}=...`"
        return "; ".join(reason for reason in (super().missing(), key) if reason) or None

    def setup(self) -> None:
        """Open the ledger and the client."""
        from hume_expression_measurement import ExpressionMeasurementClient
        from hume_expression_measurement.environment import (
            ExpressionMeasurementClientEnvironment as Environment,
        )

        if self.folder is None:
            raise ValueError(
                "`folder` must be set, but is None: the ledger of the requests and the answers "
                "stand there."
            )
        if not os.environ.get(KEY):
            raise ValueError(str(self.missing()))
        place = Environment.PRODUCTION
        if self.base_url is not None:
            place = Environment(base=self.base_url, production=self.base_url)
        self._client = ExpressionMeasurementClient(
            api_key=os.environ[KEY],
            environment=place,
            timeout=self.timeout_s,
            max_retries=self.max_retries,
        )
        self._spending = self._budget(Path(self.folder) / "hume")
        self._answers = Answers(Path(self.folder) / "hume" / "answers")

    def _budget(self, folder: Path) -> Budget:
        name, unit = "most_requests", "requests"
        return Budget(folder, self.most_requests, self.timeout_s, name=name, unit=unit)

    def _asked(self, content: Any, measure: Callable[[], Any]) -> dict[str, Any]:  # noqa: ANN401
        """An answer, bought once."""
        from hume_expression_measurement.core.api_error import ApiError

        digest = content_hash(content)
        found = self._answers.get(digest)
        if found is not None:
            return found
        call = self._spending.promise(Wish(dollars=1.0, digest=digest, model=self.model))
        try:
            response = json.loads(measure().json())
        except ApiError:
            self._spending.release([call])
            raise
        except BaseException:
            self._spending.lose([call])
            raise
        self._answers.put(digest, response)
        self._spending.settle(call, Usage(), 1.0, self.model, response["request_id"])
        return response


@dataclass(kw_only=True)
class HumeVoice(Hume):
    """The expressions of an utterance's voice.

    Attributes:
        every_ms: How often a window is measured while somebody speaks, in milliseconds; `None`:
            the API's default.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "start_s", "stop_s")
    adds: ClassVar[pa.Schema] = HUME_VOICE

    every_ms: int | None = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Measure the sound of each row."""
        starts = rows["start_s"].to_pylist()
        heard = zip(listen(rows), starts, strict=True)
        measured = [None if s is None else self._measured(s, start or 0.0) for s, start in heard]
        return answer({"hume_voice": measured}, HUME_VOICE)

    def _measured(self, samples: Samples, start_s: float) -> list[dict[str, Any]]:
        if not len(samples):
            return []
        file = wav(samples)
        if len(file) > MOST_BYTES:
            raise ValueError(
                f"an utterance must have at most {MOST_BYTES} bytes as WAV, but has {len(file)}."
            )
        config: Any = {} if self.every_ms is None else {"measurement_timer_ms": self.every_ms}
        found = self._asked(
            ["voice", sha256(file).hexdigest(), config],
            lambda: self._client.audio.measure(
                file=("utterance.wav", file, "audio/wav"),
                config=config,
            ),
        )
        return [
            {
                "start_s": start_s + one["audio_start_ms"] / 1000,
                "stop_s": start_s + one["audio_end_ms"] / 1000,
                "expressions": scores(one["expressions"]),
                "attributes": scores(one["voice_attributes"]),
            }
            for one in found["measurements"]
        ]


@dataclass(kw_only=True)
class HumeFace(Hume):
    """The expressions of the faces on the sampled frames.

    Attributes:
        threshold: Confidence below which the API takes no face in a crop for one; `None`: its
            default.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = HUME_FACE

    threshold: float | None = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Measure the crops of all rows, many in one request."""
        faces, counts = flatten(rows["faces"])
        crops = faces.field("crop").to_pylist() if len(faces) else []
        known = [i for i, crop in enumerate(crops) if crop is not None]
        found: list[dict[str, Any] | None] = [None] * len(crops)
        for part in parts([crops[i] for i in known]):
            where = [known[i] for i in part]
            for i, one in zip(where, self._measured([crops[i] for i in where]), strict=True):
                found[i] = one
        kind = HUME_FACE.field("hume_face").type
        flat = pa.array(found, type=kind.value_type)
        return pa.table([regroup(flat, counts).cast(kind)], schema=HUME_FACE)

    def _measured(self, crops: Sequence[bytes]) -> list[dict[str, Any] | None]:
        config: Any = {} if self.threshold is None else {"face": {"threshold": self.threshold}}
        found = self._asked(
            ["face", [sha256(crop).hexdigest() for crop in crops], config],
            lambda: self._client.video.measure(
                file=[(f"{i}.jpg", crop, "image/jpeg") for i, crop in enumerate(crops)],
                config=config,
            ),
        )
        return [_largest(one["faces"]) for one in found["measurements"]]


def _largest(faces: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The face that a crop was cut for: the measured ones come first, by size."""
    if not faces or faces[0]["expressions"] is None:
        return None
    face = faces[0]
    return {
        "confidence": face["confidence"],
        "expressions": scores(face["expressions"]),
        "descriptions": scores(face["descriptions"] or ()),
    }


def scores(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Names and probabilities as they come, likeliest first."""
    return [{"name": one["name"], "score": one["probability"]} for one in found]


def wav(samples: Samples) -> bytes:
    """A WAV file as the API wants it: 16 bits, 16 kHz, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def parts(crops: Sequence[bytes]) -> Iterator[list[int]]:
    """Pictures in portions that one request can take.

    Raises:
        ValueError: One of them is too large for any.
    """
    part: list[int] = []
    size = 0
    for i, crop in enumerate(crops):
        if len(crop) > MOST_PICTURE_BYTES:
            raise ValueError(
                f"a crop must have at most {MOST_PICTURE_BYTES} bytes, but has {len(crop)}."
            )
        if part and (len(part) == MOST_PICTURES or size + len(crop) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(i)
        size += len(crop)
    if part:
        yield part
