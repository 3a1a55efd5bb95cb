"""Parallel coordinates, as the page draws them."""

import pytest

from mien.jobs.evaluation.drawing import drawn
from mien.jobs.evaluation.figures import Axis, Parallel, Trace
from mien.jobs.pages.markup import environment

AXES = [
    Axis(name="a.rate", low=1e-4, high=1e-2, log=True),
    Axis(name="a.kind", names=["l1", "<l2>"]),
    Axis(name="score", low=0.2, high=0.6),
]


def test_values_lie_where_their_axis_has_them() -> None:
    traces = [
        Trace(name="middle", values=[1e-3, "<l2>", 0.6], strength=0.0, kind="chosen"),
        Trace(name="failed", values=[1e-2, "l1", None]),
        Trace(name="nothing", values=[None, None, None]),
    ]
    made = drawn(Parallel(title="T", axes=AXES, traces=traces))
    (x1, y1), (x2, y2), (x3, y3) = points(made["traces"][0]["points"])
    top, floor = made["top"], made["floor"]
    assert x1 < x2 < x3
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y1 == pytest.approx((top + floor) / 2)  # 1e-3 is half way between 1e-4 and 1e-2
    assert y2 == pytest.approx(floor - 0.75 * (floor - top))  # the upper one of two names
    assert y3 == top
    assert points(made["traces"][1]["points"])[0][1] == top
    assert len(points(made["traces"][1]["points"])) == 2  # it has no score
    assert made["traces"][2]["points"] == ""
    assert [name for _, name in made["axes"][0]["ticks"]] == ["0.0001", "0.001", "0.01"]
    assert [name for _, name in made["axes"][1]["ticks"]] == ["l1", "<l2>"]
    assert [name for _, name in made["axes"][2]["ticks"]] == ["0.2", "0.3", "0.4", "0.5", "0.6"]


def points(text: str) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in text.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_an_axis_without_extent_is_drawn() -> None:
    """All trials had the same score, or the range holds no power of ten."""
    axes = [Axis(name="x", low=0.5, high=0.5), Axis(name="y", low=2.0, high=3.0, log=True)]
    made = drawn(Parallel(title="", axes=axes, traces=[Trace(name="", values=[0.5, 2.5])]))
    assert len(points(made["traces"][0]["points"])) == 2
    assert [name for _, name in made["axes"][1]["ticks"]] == ["2", "3"]


def test_names_are_text_on_the_page() -> None:
    hostile = "</svg><script>alert(1)</script>"
    figure = Parallel(
        title=hostile, axes=AXES, traces=[Trace(name=hostile, values=[1e-3, "l1", 0.3])]
    )
    template = environment().from_string('{% from "figures.html" import figure %}{{ figure(one) }}')
    html = template.render(one=drawn(figure))
    assert "<script" not in html
    assert "&lt;l2&gt;" in html
    assert html.count("<polyline") == 1
