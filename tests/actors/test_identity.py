import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mien.actors import signals
from mien.actors.faces import FaceFinder
from mien.actors.identity import WIDTH, Identity, combine, texture, waves
from mien.datasets.schema import FACE, IDENTITY, rows


@pytest.fixture(scope="module")
def identity() -> Iterator[Identity]:
    actor = Identity()
    actor.setup()
    yield actor
    actor.close()


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceFinder]:
    finder = FaceFinder()
    finder.setup()
    yield finder
    finder.close()


def table(faces: Sequence[Sequence[bytes | None] | None]) -> pa.Table:
    records = [None if row is None else [{"crop": crop} for crop in row] for row in faces]
    return pa.table({"faces": pa.array(records, type=rows(*FACE))})


def crops(finder: FaceFinder, path: Path, at: list[int]) -> list[bytes]:
    found = []
    with av.open(path) as media:
        for index, frame in enumerate(media.decode(video=0)):
            if index in at:
                image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                found.append(signals.crop(image, finder.detect(image)[0, :4]))
    return found


def blank() -> bytes:
    return signals.crop(np.full((200, 200, 3), 120, np.uint8), np.array([50, 50, 80, 80]))


@pytest.mark.data
def test_a_returning_woman_is_nearer_than_the_others(
    identity: Identity, finder: FaceFinder, data: Path
) -> None:
    video = data / "video/composites/mixed_return_a1.mp4"
    shots = json.loads(video.with_suffix(".truth.json").read_text())["shots"]
    middle = [(shot["start_frame"] + shot["end_frame"]) // 2 for shot in shots]
    answer = identity.process(table([crops(finder, video, middle)]))
    vectors = np.array(answer["face_embeddings"][0].as_py())
    alike = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    people = [shot["face"] for shot in shots]
    assert people[0] == people[3]
    assert alike[0, 3] > 0.5
    assert max(alike[0, 1], alike[0, 2], alike[1, 2]) < 0.4


@pytest.mark.data
def test_rows_stay_in_order_and_missing_faces_are_null(
    identity: Identity, finder: FaceFinder, data: Path
) -> None:
    still = np.asarray(Image.open(data / "faces/expression_stills/neutral.jpg").convert("RGB"))
    crop = signals.crop(still, finder.detect(still)[0, :4])
    batch = table([[crop, blank()], None, [], [None, crop]])
    answer = identity.process(batch)
    assert answer.schema == IDENTITY
    first, second, third, fourth = answer["face_embeddings"].to_pylist()
    assert second is None
    assert third == []
    assert first[1] is None
    assert fourth[0] is None
    assert first[0] == fourth[1]
    single = [identity.process(batch.slice(row, 1))["face_embeddings"] for row in range(4)]
    assert pa.chunked_array([c for column in single for c in column.chunks]).to_pylist() == [
        first,
        second,
        third,
        fourth,
    ]


def test_a_crop_that_is_no_jpeg_is_an_error(identity: Identity) -> None:
    with pytest.raises(ValueError, match="must be a JPEG"):
        identity.process(table([[b"no picture"]]))


def test_texture_of_known_patterns() -> None:
    flat = texture(np.full((112, 112), 90, np.uint8)).reshape(49, 59)
    assert (flat[:, 57] == 1).all()  # all eight neighbours are at least as bright: the last code
    noise = np.random.default_rng(0).integers(0, 256, (112, 112), np.uint8)
    shares = texture(noise).reshape(49, 59) ** 2
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares[:, 58] > 0.2).all()  # most codes of noise are not uniform


def test_the_embedding_follows_the_gaussian_kernel_of_the_descriptors() -> None:
    rng = np.random.default_rng(1)
    first = {"edges": rng.random(1296), "texture": rng.random(2891), "colour": rng.random(18)}
    directions = waves()
    one = combine(first, directions)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    for noise in (0.02, 0.2, 0.5, 1.0):
        second = {k: v + noise * rng.normal(size=len(v)) for k, v in first.items()}
        alike = np.mean(
            [
                first[k] @ second[k] / np.linalg.norm(first[k]) / np.linalg.norm(second[k])
                for k in first
            ]
        )
        expected = np.exp((alike - 1) / WIDTH**2)
        assert one @ combine(second, directions) == pytest.approx(expected, abs=0.12)


def test_a_margin_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`margin` must be at least 1"):
        Identity(margin=0.5)
