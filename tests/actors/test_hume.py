"""Checks of the actors that need no SDK."""

import io
import wave

import numpy as np
import pytest

from mien.actors.hume import HUME_FACE, HUME_VOICE, Hume, HumeFace, HumeVoice, parts, wav
from mien.datasets.ragged import flatten


@pytest.mark.parametrize("kind", [HumeVoice, HumeFace])
def test_a_key_is_needed_and_named(kind: type[Hume], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUME_API_KEY", raising=False)
    assert "`export HUME_API_KEY=...`" in (kind().missing() or "")
    monkeypatch.setenv("HUME_API_KEY", "secret")
    assert "HUME_API_KEY" not in (kind().missing() or "")
    assert "secret" not in f"{kind()} {kind().identity()}"


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`most_requests` must be at least 0, but is -1"):
        HumeFace(most_requests=-1)
    with pytest.raises(ValueError, match=r"`timeout_s` must be greater than 0"):
        HumeVoice(timeout_s=0)
    assert HumeVoice(most_requests=5).identity() == HumeVoice().identity()
    assert HumeVoice(every_ms=500).identity() != HumeVoice().identity()


def test_a_wav_file_is_what_the_api_takes() -> None:
    samples = np.array([0.0, 1.0, -1.0, 2.0, 0.5], np.float32)
    with wave.open(io.BytesIO(wav(samples))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        found = np.frombuffer(file.readframes(9), "<i2")
    assert found.tolist() == [0, 32767, -32767, 32767, 16384]


def test_pictures_go_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.actors.hume.MOST_BYTES", 100)
    monkeypatch.setattr("mien.actors.hume.MOST_PICTURES", 3)
    sizes = [60, 40, 1, 99, 1, 1, 1, 1]
    assert list(parts([bytes(n) for n in sizes])) == [[0, 1], [2, 3], [4, 5, 6], [7]]
    assert list(parts([])) == []
    with pytest.raises(ValueError, match=r"a crop must have at most 2000000 bytes"):
        list(parts([bytes(2_000_001)]))


def test_columns_are_lists_of_named_scores() -> None:
    assert HumeVoice.adds == HUME_VOICE
    assert HumeFace.adds == HUME_FACE
    items, _ = flatten(HUME_FACE.empty_table()["hume_face"])
    assert {f.name for f in items.type} == {"confidence", "expressions", "descriptions"}
