import numpy as np
import pytest

import tiny_micro
from mien.actors.apex import energies, middle, strongest
from mien.actors.flow import Dis


@pytest.mark.parametrize(("onset", "offset", "apex"), [(0, 9, 4), (0, 10, 5), (3, 4, 3), (2, 2, 2)])
def test_middle_rounds_down(onset: int, offset: int, apex: int) -> None:
    assert middle(onset, offset) == apex


@pytest.mark.parametrize("rule", ["flow", "strain"])
@pytest.mark.parametrize("label", ["positive", "surprise", "negative"])
def test_motion_finds_the_drawn_apex(rule: str, label: str) -> None:
    images = tiny_micro.frames(tiny_micro.Person.of("s01"), label, 14, 96, apex=9)
    greys = [image[:, :, 0] for image in images]
    flow = Dis()
    flow.setup()
    found = energies(flow, greys, rule)
    assert found[0] == 0
    assert abs(strongest(found) - 9) <= 1
    assert abs(strongest(found) - middle(0, 13)) >= 2


def test_strongest_is_inside_and_smooth() -> None:
    assert strongest(np.array([0.0, 1, 5, 1, 0])) == 2
    assert strongest(np.array([0.0, 1, 2, 3, 9])) == 3
    spike = np.array([0, 5.0, 0, 3, 4, 4, 3, 0])
    assert strongest(spike, smooth=1) == 1
    assert strongest(spike, smooth=3) in (4, 5)
    assert strongest(np.array([0.0, 1])) == 1
