import cv2
import numpy as np
import pytest

from mien.actors.flow import Dis, Flow, TvL1, directions, magnitude, scaled, strain

SHIFT = (1.5, -0.75)


def pair(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A textured picture, and the same moved by `SHIFT`."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 2.0)
    first = np.interp(noise, [noise.min(), noise.max()], [0, 255]).astype(np.float32)
    move = np.array([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]], np.float32)
    second = cv2.warpAffine(first, move, (size, size), flags=cv2.INTER_CUBIC)
    return first.round().astype(np.uint8), second.clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("flow", [TvL1(), Dis()], ids=["tvl1", "dis"])
def test_finds_a_known_shift(flow: Flow) -> None:
    flow.setup()
    found = flow.between(*pair())[16:-16, 16:-16]
    assert found.dtype == np.float32
    assert found.mean(axis=(0, 1)) == pytest.approx(SHIFT, abs=0.1)
    flow.close()


def test_strain_is_the_symmetric_gradient() -> None:
    y, x = np.mgrid[0:20, 0:30].astype(np.float32)
    stretched = np.stack([0.1 * x, -0.2 * y], axis=2)
    assert strain(stretched) == pytest.approx(np.full((20, 30), np.hypot(0.1, 0.2)), abs=1e-5)
    sheared = np.stack([0.1 * y, 0.3 * x], axis=2)
    assert strain(sheared) == pytest.approx(np.full((20, 30), 0.4 / np.sqrt(2)), abs=1e-5)


def test_a_shift_or_a_small_turn_is_no_strain() -> None:
    y, x = np.mgrid[0:20, 0:30].astype(np.float32)
    turned = np.stack([-0.05 * y + 3, 0.05 * x - 1], axis=2)
    assert strain(turned).max() < 1e-5
    assert magnitude(turned).max() > 1


def test_scaled_spans_the_bytes_and_drops_noise() -> None:
    values = np.full((10, 10), 1.0)
    values[0, 0], values[0, 1] = 0.0, 5.0
    out = scaled(values)
    assert (out[0, 0], out[0, 1], out[5, 5]) == (0, 255, 51)
    assert np.unique(scaled(values, 1.5)).tolist() == [0, 255]
    assert not scaled(np.full((4, 4), 7.0), 1.5).any()


def test_refuses_what_it_cannot_take() -> None:
    with pytest.raises(ValueError, match="`scale_step` must be between 0 and 1"):
        TvL1(scale_step=1.0)
    with pytest.raises(ValueError, match="`preset` must be one of ultrafast, fast, medium"):
        Dis(preset="slow")
    grey = np.zeros((32, 32), np.uint8)
    with pytest.raises(RuntimeError, match="`setup` must be called"):
        Dis().between(grey, grey)
    flow = Dis()
    flow.setup()
    with pytest.raises(ValueError, match="two grey pictures of one size"):
        flow.between(grey, np.zeros((32, 40), np.uint8))


def test_directions_say_where_each_block_goes() -> None:
    """A block that goes 2 px down, another 1 px up and to the left, on a head that shifts."""
    flow = np.full((32, 64, 2), (3.0, -1.0), np.float32)
    flow[8:12, 24:32] += (0.0, 2.0)
    flow[28:, :4] += (-1.0, -1.0)
    found = directions(flow)
    assert found.shape == (8, 8, 8)
    wanted = np.zeros((8, 8, 8))
    wanted[2, 3, 2] = 2.0
    wanted[7, 0, 5] = np.sqrt(2) / 2  # half of the block's pixels
    np.testing.assert_allclose(found, wanted, atol=1e-6)
