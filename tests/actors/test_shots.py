import json
from pathlib import Path

import pytest
from scenedetect import AdaptiveDetector, ContentDetector, detect
from scenedetect.detector import FlashFilter

from mien.actors.shots import Shots, small_size
from mien.datasets.video import Clip


def cuts(path: Path, **parameters: object) -> list[float]:
    shots = Shots(**parameters)  # type: ignore[arg-type]
    found = []
    for frame in Clip(uri=str(path)):
        cut = shots.push(frame.time_s, frame.small(*small_size(frame.size)))
        found += [cut.time_s] if cut else []
    return found


@pytest.mark.data
@pytest.mark.parametrize("name", ["composites/mixed_return_a1.mp4", "scene_cuts/psd_counter.mp4"])
@pytest.mark.parametrize("detector", ["adaptive", "content"])
def test_same_as_pyscenedetect(data: Path, name: str, detector: str) -> None:
    path = data / "video" / name
    theirs = {
        "adaptive": AdaptiveDetector(min_content_val=10.0, min_scene_len=0.3),
        "content": ContentDetector(min_scene_len=0.3, filter_mode=FlashFilter.Mode.SUPPRESS),
    }[detector]
    want = [start.seconds for start, _ in detect(str(path), theirs)][1:]
    assert want
    assert cuts(path, detector=detector) == pytest.approx(want, abs=1e-4)


@pytest.mark.data
def test_hard_cuts_of_the_composites(data: Path) -> None:
    for truth in (data / "video/composites").glob("*.truth.json"):
        facts = json.loads(truth.read_text())
        want = [frame / 25 for frame in facts["hard_cut_frames"]]
        assert cuts(truth.parent / facts["video"]) == pytest.approx(want, abs=0.001), truth.name


def test_wrong_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="`detector` must be one of"):
        Shots(detector="magic")
