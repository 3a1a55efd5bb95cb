"""The simulated run is one that the project's own code reads: it counts what was written."""

from pathlib import Path

import pytest

from scale import Simulation, growth, points, wide


def test_every_point_of_a_small_corpus(tmp_path: Path) -> None:
    run = Simulation(tmp_path, 2)
    found = {name: point(run) for name, point in points(run).items()}
    rows = {"videos": 4, "turns": 4, "speech": 200, "watch": 120, "voice": 1200, "timeline": 4}
    assert {name: found[name]["rows"] for name in rows} == rows
    assert found["corpus"]["rows"] == 4
    assert found["status"]["rows"] == sum(rows.values())
    assert found["reading again"]["rows"] == found["compaction"]["rows"] == rows["watch"]


def test_growth_is_for_ten_times_the_hours() -> None:
    assert growth({10: 1.0, 1000: 100.0}) == pytest.approx(10)
    assert growth({1: 5.0, 10: 2.0, 100: 4.0}) == pytest.approx(2)
    assert growth({10: 1.0}) is None
    line = {"what": "status", "rows": 1, "s": 1.0, "MB": 5.0}
    (shown,) = wide([{**line, "hours": 10}, {**line, "hours": 100, "rows": 9, "s": 12.0}])
    assert (shown["s x10"], shown["MB x10"], shown["rows"]) == (pytest.approx(12), 1, 9)
