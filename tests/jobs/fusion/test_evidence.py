from typing import Any

import numpy as np
import pyarrow as pa

from mien.datasets.schema import IDENTITY, KEY, WATCH
from mien.jobs.fusion.evidence import Evidence


def face(t: float, track: int | None) -> dict[str, Any]:
    return {"frame": 0, "time_s": t, "x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0, "track": track}


ROWS = [
    {
        "start_s": 10.0,
        "faces": [face(12.0, 0), face(11.0, None)],
        "face_embeddings": [[1, 2], None],
    },
    {"start_s": 0.0, "faces": [face(1.0, 3)], "face_embeddings": [[5, 6]]},
    {"start_s": 20.0, "faces": None, "face_embeddings": None},
    {"start_s": 30.0, "faces": [face(31.0, 1)], "face_embeddings": None},
]
VIDEO = {"video_id": "v", "uri": "u"}


def test_arrays_are_in_order_of_time_with_their_vectors() -> None:
    found = Evidence(video=VIDEO, watch=ROWS)
    assert found.faces.time_s.tolist() == [1, 11, 12, 31]
    assert found.faces.track.tolist() == [3, -1, 0, 1]
    assert found.faces.row.tolist() == [0, 1, 1, 3]
    nan = np.nan
    np.testing.assert_equal(found.embeddings, [[5, 6], [nan, nan], [1, 2], [nan, nan]])
    assert np.isnan(found.faces["quality"]).all()
    assert len(found.signals) == 0


def test_the_table_of_the_watch_phase_is_read_as_it_is() -> None:
    schema = pa.schema([*KEY, *WATCH, *IDENTITY])
    rows = [{**row, "id": "i", "video_id": "v", "uri": "u"} for row in ROWS]
    found = Evidence(video=VIDEO, watch=pa.Table.from_pylist(rows, schema=schema))
    records = Evidence(video=VIDEO, watch=ROWS)
    assert found.faces.time_s.tolist() == records.faces.time_s.tolist()
    np.testing.assert_equal(found.embeddings, records.embeddings)


def test_nobody_watched() -> None:
    found = Evidence(video=VIDEO)
    assert len(found.faces) == len(found.signals) == len(found.cuts) == 0
    assert found.embeddings.shape == (0, 1)
    assert found.words == found.exclusive_turns == []
