"""The measuring of the spotting, on synthetic clips of real faces."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.actors.excursions import overlap
from spotting import Count, Spotter, injected, spans


def test_counts_and_shares() -> None:
    count = Count()
    count.add([(1.0, 1.2), (2.0, 2.2), (3.0, 3.2)], [(1.0, 1.3), (5.0, 5.2)], 60.0)
    row = count.row("a", "b")
    assert (row["events"], row["found"], row["candidates"]) == (2, 1, 3)
    assert (row["precision"], row["recall"], row["false per minute"]) == ("0.33", "0.50", "2.0")
    assert Count(seconds=30.0).row("a", "b")["precision"] == "-"


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    return Spotter()


@pytest.mark.data
def test_a_posed_movement_is_spotted_and_a_still_face_is_not(spotter: Spotter, data: Path) -> None:
    folder = data / "video" / "micro_proxy"
    truth = json.loads((folder / "positive_a1.truth.json").read_text())
    found, _ = spotter.spot(folder / "positive_a1.mp4")
    ((start_s, stop_s),) = spans(found, 1 / truth["fps"])
    event = (truth["onset_frame"] / truth["fps"], (truth["offset_frame"] + 1) / truth["fps"])
    assert overlap((start_s, stop_s), event) >= 0.5
    assert found[0]["region"] == "mouth"
    assert spotter.spot(folder / "none_a2.mp4")[0] == []


@pytest.mark.data
def test_an_injected_movement_is_where_it_should_be(spotter: Spotter, data: Path) -> None:
    path = data / "video" / "micro_proxy" / "none_a2.mp4"
    made = injected(path, spotter.finder, "mouth", 0.04, 0.5)
    assert made is not None
    moved, (start_s, stop_s) = made
    plain = injected(path, spotter.finder, "mouth", 0.0, 0.5)
    assert plain is not None
    change = [np.abs(a.astype(int) - b).max() for a, b in zip(moved, plain[0], strict=True)]
    changed = np.flatnonzero(np.array(change) > 8)
    assert changed[0] >= round(start_s * 30)
    assert changed[-1] < round(stop_s * 30)
    assert len(changed) >= 5
