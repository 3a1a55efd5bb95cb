"""Names of rows' content."""

import pyarrow as pa

from mien.jobs.evaluation.extract import digest


def test_a_digest_names_the_content_and_not_its_chunks() -> None:
    rows = pa.table({"id": ["a", "b", "c"], "label": ["x", "y", "x"]})
    apart = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    assert digest(apart) == digest(rows)
    other = rows.set_column(1, "label", pa.array(["x", "y", "y"]))
    assert digest(other) != digest(rows)
    assert digest(rows.slice(1)) != digest(rows)
    assert digest(rows.slice(1)) == digest(pa.table({"id": ["b", "c"], "label": ["y", "x"]}))
