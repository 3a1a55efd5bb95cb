"""Optical flow between two pictures of a face, and its strain.

Flow is `(height, width, 2)` float32 in pixels: how far what lies at a pixel of the first picture
has gone to the right and down in the second.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .actor import MACHINE

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]

BLOCKS, BINS = 8, 8
"""Of `directions`: parts of a side, and of a circle."""

DIS = ("ultrafast", "fast", "medium")


class Flow(Protocol):
    """What finds the flow between two grey pictures."""

    def setup(self) -> None:
        """Prepare it."""

    def close(self) -> None:
        """Release it."""

    def between(self, first: Grey, second: Grey) -> Field:
        """Flow from the first picture to the second, both `(height, width)` uint8."""
        ...


@dataclass(kw_only=True)
class TvL1:
    """Total-variation flow (Zach, Pock and Bischof 2007): exact, about 0.5 s for a 224 px pair.

    The defaults are OpenCV's, but for `scale_step`, which is that of "Mimicking the Annotation
    Process" (ACM MM 2022).

    Attributes:
        tau: Time step of the numerical scheme.
        weight: Of the data term (lambda); smaller is smoother.
        theta: Tightness of the coupling.
        scales: Levels of the pyramid.
        scale_step: From one level to the next (0-1).
        warps: Per level.
        epsilon: Where an iteration stops.
        inner: Iterations, at most.
        outer: Iterations, at most.
        median: Aperture of the median filter; 1: none.
    """

    tau: float = 0.25
    weight: float = 0.15
    theta: float = 0.3
    scales: int = 5
    scale_step: float = 0.5
    warps: int = 5
    epsilon: float = 0.01
    inner: int = 30
    outer: int = 10
    median: int = 5
    _flow: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        if not 0 < self.scale_step < 1:
            raise ValueError(
                f"`scale_step` must be between 0 and 1 (exclusive), but is {self.scale_step:g}."
            )
        for name in ("tau", "weight", "theta", "scales", "warps", "epsilon", "inner", "outer"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        if self.median not in (1, 3, 5):
            raise ValueError(f"`median` must be 1, 3 or 5, but is {self.median}.")

    def setup(self) -> None:
        """Build OpenCV's.

        Raises:
            ImportError: This OpenCV has no contributed modules.
        """
        import cv2

        if not hasattr(cv2, "optflow"):
            raise ImportError(
                "TV-L1 needs OpenCV's contributed modules, which another OpenCV has overwritten: "
                "reinstall opencv-contrib-python-headless, or take `mien.actors.flow.Dis`."
            )
        create: Any = cv2.optflow.DualTVL1OpticalFlow_create  # pyright: ignore[reportAttributeAccessIssue]
        self._flow = create(
            tau=self.tau,
            lambda_=self.weight,
            theta=self.theta,
            nscales=self.scales,
            warps=self.warps,
            epsilon=self.epsilon,
            innnerIterations=self.inner,
            outerIterations=self.outer,
            scaleStep=self.scale_step,
            medianFiltering=self.median,
        )

    def close(self) -> None:
        """Release it."""
        self._flow = None

    def between(self, first: Grey, second: Grey) -> Field:
        """Flow from the first picture to the second."""
        return computed(self._flow, first, second)


@dataclass(kw_only=True)
class Dis:
    """Dense inverse search (Kroeger et al. 2016): about fifty times as fast as TV-L1.

    Attributes:
        preset: `ultrafast`, `fast` or `medium`.
    """

    preset: str = "medium"
    _flow: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        if self.preset not in DIS:
            raise ValueError(f"`preset` must be one of {', '.join(DIS)}, but is {self.preset!r}.")

    def setup(self) -> None:
        """Build OpenCV's."""
        import cv2

        self._flow = cv2.DISOpticalFlow.create(DIS.index(self.preset))

    def close(self) -> None:
        """Release it."""
        self._flow = None

    def between(self, first: Grey, second: Grey) -> Field:
        """Flow from the first picture to the second."""
        return computed(self._flow, first, second)


def computed(method: Any, first: Grey, second: Grey) -> Field:  # noqa: ANN401
    """Run one of OpenCV's methods on two grey pictures of one size.

    Raises:
        RuntimeError: `setup` was not called.
        ValueError: The pictures differ in size, or are not grey.
    """
    if method is None:
        raise RuntimeError("`setup` must be called before flow can be computed.")
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"flow needs two grey pictures of one size, but they are {first.shape} and "
            f"{second.shape}."
        )
    return np.asarray(method.calc(first, second, None), np.float32)


def magnitude(flow: Field) -> NDArray[np.float32]:
    """How far each pixel goes: `(height, width)` float32, px."""
    return np.hypot(flow[..., 0], flow[..., 1])


def strain(flow: Field) -> NDArray[np.float32]:
    """How much the skin is stretched or sheared, which a shift of the whole head is not.

    `sqrt(ux^2 + vy^2 + (uy + vx)^2 / 2)`, as in STSTNet (Liong et al. 2019): the size of the
    symmetric part of the flow's gradient.

    Args:
        flow: `(height, width, 2)`.

    Returns:
        `(height, width)` float32, pixels per pixel.
    """
    uy, ux = np.gradient(flow[..., 0])
    vy, vx = np.gradient(flow[..., 1])
    return np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2).astype(np.float32)


def directions(flow: Field) -> NDArray[np.float32]:
    """Where each part of a picture goes: histograms of the flow's direction, by its length.

    As the block histograms of Bi-WOOF (Liong et al. 2018, "Less is more"), without its weights. The
    median of the flow is taken off first: a shift of the whole head does not count.

    Args:
        flow: `(height, width, 2)`, both at least `BLOCKS`.

    Returns:
        `(BLOCKS, BLOCKS, BINS)` float32: of each block, from above and from the left, the px that
        its pixels go on average, parted by direction: to the right first, then clockwise.
    """
    own = flow - np.median(flow, axis=(0, 1))
    turn = np.arctan2(own[..., 1], own[..., 0]) / (2 * np.pi) * BINS  # the centre of a bin is whole
    bins = np.round(turn).astype(np.int64) % BINS
    height, width = bins.shape
    rows, columns = (np.arange(n) * BLOCKS // n for n in (height, width))
    block = rows[:, None] * BLOCKS + columns
    size = BLOCKS * BLOCKS
    sums = np.bincount(
        (block * BINS + bins).ravel(), magnitude(own).ravel(), minlength=size * BINS
    ).reshape(BLOCKS, BLOCKS, BINS)
    pixels = np.bincount(block.ravel(), minlength=size).reshape(BLOCKS, BLOCKS, 1)
    return (sums / pixels).astype(np.float32)


def scaled(values: NDArray[np.floating], least: float = 0.0) -> Grey:
    """Take values to 0-255, the least to 0 and the greatest to 255.

    Args:
        values: `(height, width)`.
        least: What is then below this multiple of the mean becomes 0: noise of the skin.

    Returns:
        `(height, width)` uint8; all 0 where the values are all the same.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    out = np.round((values - low) * (255 / (high - low))).astype(np.uint8)
    out[out < least * out.mean()] = 0
    return out
