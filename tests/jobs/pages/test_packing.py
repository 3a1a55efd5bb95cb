"""The picture of the packing, from whatever is known."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mien.jobs.pages.packing import HEIGHT_PX, WIDTH_PX, packing


def pool(name: str, workers: int, gb: float) -> dict[str, Any]:
    return {"actors": [name], "workers": workers, "memory_gb": gb, "measured": True}


def plan(hours: float | None = 1.0, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    segments = [{"pools": [pool("a", 2, 3.0), pool("b", 1, 4.0)], "hours": hours}]
    phases = {"watch": {"segments": segments, "hours": hours, "measured": True}}
    return {"memory_gb": 20.0, "unified": True, "phases": phases, **more}


def blocks(html: str) -> list[tuple[float, ...]]:
    """Left, top, width and height of each drawn pool."""
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', html)
    return [tuple(map(float, one)) for one in found]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def test_the_blocks_are_as_high_as_the_memory_that_the_pools_hold() -> None:
    (_, top_a, _, high_a), (_, top_b, _, high_b) = blocks(packing(plan()))
    assert (high_a + 1) / (high_b + 1) == pytest.approx(6 / 4, rel=0.01)
    assert top_a + high_a + 1 == pytest.approx(HEIGHT_PX, abs=0.2)  # stacked, from the floor
    assert top_b + high_b + 1 == pytest.approx(top_a, abs=0.2)


def test_the_line_stands_at_what_there_is() -> None:
    html = packing(plan())
    (budget,) = map(float, re.findall(r'class="budget".*?y1="([-\d.]+)"', html))
    per_gb = (blocks(html)[0][3] + 1) / 6
    assert (HEIGHT_PX - budget) / per_gb == pytest.approx(20, rel=0.01)
    assert 'class="budget"' not in packing(plan(memory_gb=None))


def test_parts_are_as_wide_as_they_take_time_and_none_is_lost() -> None:
    made = plan()
    made["phases"] = {
        name: {"segments": [{"pools": [pool("a", 1, 1.0)], "hours": hours}], "hours": hours}
        for name, hours in (("long", 9.0), ("short", 1.0), ("nothing", 0.0))
    }
    wide = {left: width for left, _, width, _ in blocks(packing(made))}
    first, second, third = (wide[left] for left in sorted(wide))
    assert first > second > third > 30
    assert max(left + width for left, width in wide.items()) <= WIDTH_PX


@pytest.mark.parametrize("nothing", [None, {}, {"phases": {}}])
def test_where_nothing_was_planned_there_is_no_picture(nothing: dict | None) -> None:
    assert packing(nothing) == ""


def test_an_unknown_speed_is_said_to_be_unknown() -> None:
    html = packing(plan(hours=None), [{"name": "watch", "wall_s": 75.0}])
    assert "expected: unknown" in html
    assert "took 1:15" in html
    assert len(blocks(html)) == 2


def test_expected_and_actual_time_stand_side_by_side() -> None:
    html = packing(plan(hours=0.5), [{"name": "watch", "wall_s": 3600.0}])
    assert re.findall(r'gauge( actual)?".*?width:([\d.]+)%', html) == [
        ("", "50.00"),
        (" actual", "100.00"),
    ]


def test_a_device_with_memory_of_its_own_has_a_picture_of_its_own() -> None:
    made = plan(unified=False, gpu_memory_gb=80.0)
    made["phases"]["watch"]["segments"][0]["pools"][0]["gpu_memory_gb"] = 30.0
    assert packing(made).count("<svg") == 2
    assert packing({**made, "unified": True}).count("<svg") == 1


def test_a_name_is_text_and_never_markup() -> None:
    made = plan()
    made["phases"] = {"<script>x</script>": made["phases"]["watch"]}
    made["phases"]["<script>x</script>"]["segments"][0]["pools"][0]["actors"] = ["<img src=x>"]
    tags = Tags()
    tags.feed(packing(made))
    assert not {"script", "img"} & set(tags.seen)
    assert "&lt;script&gt;" in packing(made)


def test_keys_may_be_missing() -> None:
    made = {"phases": {"a": {}, "b": {"segments": [{}]}, "c": {"segments": [{"pools": [{}]}]}}}
    assert "<svg" in packing(made)
