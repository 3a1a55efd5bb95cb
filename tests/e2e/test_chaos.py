"""Faults that strike a run: a short version of `benchmarks/chaos.py`, by the same code."""

import pytest

import chaos
from chaos import Point


def test_points_are_the_same_for_a_seed_and_all_kinds_come_up() -> None:
    drawn = chaos.points(40, seed=0)
    assert drawn == chaos.points(40, seed=0) != chaos.points(40, seed=1)
    many = [sum(point.fault == kind for point in drawn) for kind in chaos.FAULTS]
    assert sum(many) == 40
    assert min(many) >= 3


@pytest.mark.ray
@pytest.mark.parametrize("fault", ["driver", "node", "disk", "ctrl-c"])
def test_every_row_stands_once_after(fault: str) -> None:
    with chaos.workplace() as work:
        if fault == "disk" and not chaos.mountable(work):
            pytest.skip("this user may not mount a small disk")
        outcome = chaos.tried(Point(fault=fault, share=0.4, row=70, seed=0), work)
    assert outcome.exact, outcome
    assert bool(outcome.first_exit) == (fault != "node")
    if fault == "disk":
        assert "could not be written" in outcome.said
        assert "the same command" in outcome.said
