"""Pictures of held-out clips: apex, flow and attention side by side, framed by right or wrong."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...actors.clip_flow import packed, unpacked
from ..evaluation.figures import Picture
from .loso import answers
from .micro_samples import Samples

RIGHT, WRONG = (34, 136, 51), (204, 51, 68)
FRAME_PX, SIDE_PX = 6, 160

Image = NDArray[np.uint8]


def shown(samples: Samples, taken: pa.Table, most: int) -> list[Picture]:
    """Draw some clips, of as many persons and classes as may be.

    Args:
        samples: The clips.
        taken: `loso.FOLD` rows of the chosen epoch.
        most: Pictures, at most.

    Returns:
        Pictures; none where the system does not say where it looked.
    """
    if taken["attention"].null_count == len(taken):
        return []
    place = {one: at for at, one in enumerate(samples.ids.tolist())}
    rows = [row for row in taken.to_pylist() if row["attention"] is not None]
    said = {row["id"]: int(one) for row, one in zip(taken.to_pylist(), answers(taken), strict=True)}
    by_id = {row["id"]: row for row in rows}
    return [
        _picture(samples, place[one], by_id[one], said[one])
        for one in _spread(samples, [row["id"] for row in rows], most)
    ]


def _spread(samples: Samples, ids: list[str], most: int) -> list[str]:
    """Clips in turns: the first of each class and person before the second of any."""
    place = {one: at for at, one in enumerate(samples.ids.tolist())}
    seen: dict[tuple[str, int], int] = {}
    people: dict[str, int] = {}
    ranked = []
    for one in ids:
        person, truth = str(samples.subjects[place[one]]), int(samples.truth[place[one]])
        nth = seen[person, truth] = seen.get((person, truth), 0) + 1
        turn = people[person] = people.get(person, -1) + 1
        ranked.append((nth, (truth + turn) % len(samples.labels), person, one))
    return [one for *_, one in sorted(ranked)][:most]


def _picture(samples: Samples, at: int, row: dict, said: int) -> Picture:
    truth = int(samples.truth[at])
    panels = np.hstack(list(_panels(samples.pictures[at], unpacked(row["attention"]))))
    eyes, mouth = row["areas"]
    answer = samples.labels[said]
    verdict = "right" if said == truth else f"wrong: {samples.labels[truth]}"
    return Picture(
        title=f"{samples.subjects[at]}: {answer} ({verdict})",
        png=packed(framed(panels, RIGHT if said == truth else WRONG)),
        caption=f"area weights: eyes {eyes:.2f}, mouth {mouth:.2f}",
    )


def _panels(picture: Image, attention: Image) -> Iterator[Image]:
    """Apex, flow, attention over the apex: RGB, `SIDE_PX` wide and high."""
    import cv2

    size = (SIDE_PX, SIDE_PX)
    apex = np.repeat(picture[:, :, :1], 3, axis=2)
    flow = np.dstack([picture[:, :, 1], picture[:, :, 2], np.zeros_like(picture[:, :, 0])])
    heat = cv2.applyColorMap(attention, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = attention[:, :, None] / 255 * 0.7
    for image in (apex, flow, apex * (1 - share) + heat * share):
        yield np.asarray(cv2.resize(np.round(image).astype(np.uint8), size), np.uint8)


def framed(image: Image, colour: tuple[int, int, int]) -> Image:
    """A picture in a frame of one colour (RGB)."""
    height, width = image.shape[:2]
    whole = np.empty((height + 2 * FRAME_PX, width + 2 * FRAME_PX, 3), np.uint8)
    whole[:] = colour
    whole[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = image
    return whole
