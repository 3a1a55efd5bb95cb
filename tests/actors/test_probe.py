import wave
from pathlib import Path

import pyarrow as pa
import pytest

from mien.actors.probe import Probe
from mien.datasets.media import MediaError
from mien.datasets.schema import PROBE


@pytest.mark.data
def test_one_row_per_file(data: Path) -> None:
    uris = [
        str(data / "robustness/pyannote_empty.wav"),
        str(data / "video/composites/grid_dialogue_a1.mp4"),
    ]
    probe = Probe()
    probe.setup()
    table = probe.process(pa.table({"uri": uris}))
    assert table.schema == PROBE
    assert table["has_video"].to_pylist() == [False, True]
    assert table["fps"].to_pylist() == [None, 25.0]
    assert table["duration_s"].to_pylist() == [1.0, 12.0]


def test_an_empty_recording_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(MediaError, match="duration is zero or unknown"):
        Probe().process(pa.table({"uri": [str(path)]}))


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(MediaError, match=r"'absent.mp4' does not exist"):
        Probe().process(pa.table({"uri": ["absent.mp4"]}))
