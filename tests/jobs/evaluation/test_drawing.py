import math

import numpy as np
import pyarrow as pa
import pytest

from mien.jobs.evaluation.drawing import bars, confusion, curves, drawn, image_uri, ticks
from mien.jobs.evaluation.figures import Bar, Bars, Confusion, Curves, Rows


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.31, 0.66), (-0.02, 0.05), (5, 5), (1e-6, 3e-6), (0, 3712)]
)
def test_ticks_hold_all_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 9
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-6)


def test_marks_stand_where_their_values_are() -> None:
    one = bars(
        Bars(title="", bars=[Bar(name="a", value=0.5, low=0.25, high=0.75), Bar(name="b", value=1)])
    )
    (a, b), xs = one["lines"], {name: x for x, name in one["ticks"]}
    assert a["from"] < a["at"] < a["to"] < b["at"]
    assert b["at"] == xs["1"]
    assert a["at"] - a["from"] == pytest.approx(a["to"] - a["at"])
    assert (b["from"], b["to"]) == (None, None)
    assert one["zero"] is None


def test_differences_show_their_zero() -> None:
    one = bars(Bars(title="", bars=[Bar(name="a", value=0.01, low=-0.02, high=0.04)]))
    assert one["lines"][0]["from"] < one["zero"] < one["lines"][0]["at"]


def test_curves_break_where_a_value_is_missing() -> None:
    one = curves(Curves(title="", x=[1, 2, 3, 4], lines={"a": [1, math.nan, 0, 1], "b": [0] * 4}))
    first, second = one["lines"]
    assert (len(first["pieces"]), len(second["pieces"])) == (2, 1)
    ys = [float(point.split(",")[1]) for point in first["pieces"][1].split()]
    assert ys[1] < ys[0]  # a larger value stands higher
    with pytest.raises(ValueError, match="'a' must have 2 values"):
        Curves(title="", x=[1, 2], lines={"a": [1]})


def test_curves_without_points() -> None:
    assert curves(Curves(title="", x=[], lines={"a": []}))["lines"][0]["pieces"] == []


def test_cells_are_shaded_by_their_row() -> None:
    one = confusion(
        Confusion(title="", labels="abc", matrix=np.array([[3, 1, 0], [0, 0, 0], [0, 5, 5]]))
    )
    assert [cell["share"] for cell in one["lines"][0]["cells"]] == [75, 25, 0]
    assert [cell["share"] for cell in one["lines"][1]["cells"]] == [0, 0, 0]
    assert [cell["right"] for cell in one["lines"][2]["cells"]] == [False, False, True]


def test_a_table_as_text() -> None:
    table = pa.table({"a": ["x", None], "p": [1e-5, None], "n": [12345, 6], "yes": [True, False]})
    one = drawn(Rows(title="", table=table))
    texts = [[text for text, _ in line] for line in one["lines"]]
    assert texts == [["x", "1.00e-05", "12,345", "True"], ["\N{EN DASH}"] * 2 + ["6", "False"]]


def test_pictures_are_png_or_jpeg() -> None:
    assert image_uri(b"\x89PNG\r\n\x1a\n").startswith("data:image/png;base64,")
    assert image_uri(b"\xff\xd8\xff").startswith("data:image/jpeg;base64,")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        image_uri(b"<svg onload='alert(1)'>")
