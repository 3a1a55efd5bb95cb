"""Labelled faces: what `mien analyze` kept of a corpus, with labels from a table."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .ids import row_id
from .labelled import LEAK, Source, lines, seconds, tabled
from .schema import WATCH
from .store import arrow, inside, place
from .table import Table, table_schema

Face = dict[str, Any]


@dataclass(kw_only=True)
class Faces(Source):
    """Face crops of a run of `mien analyze`, as its table `watch` keeps them.

    A line of the table of labels is a span of a video: `video` (its `video_id`, or the name of its
    file), `label`, `person`, and possibly `start_s` and `stop_s`; without them it is the whole
    video. Of each sampled frame in a span the largest face is taken.

    Attributes:
        run: Folder of the run.
        labels: The table of labels, CSV.
    """

    run: str
    labels: str

    @property
    def name(self) -> str:
        """The name of the table of labels."""
        return place(self.labels).stem

    def survey(self) -> pa.Table:
        """List the faces that lie in a labelled span.

        Raises:
            ValueError: A line of the labels is incomplete, or its video is not in the run; no
                face lies in a span, or one lies in two.
        """
        known, found = self._videos(), []
        spans = sorted(self._spans(known), key=itemgetter("video"))
        for video, parts in groupby(spans, key=itemgetter("video")):
            faces = self._faces(video)
            for span, face in product(parts, faces):
                if span["start_s"] <= face["time_s"] < span["stop_s"]:
                    names = {name: span[name] for name in ("label", "person", "video")}
                    facts = {"id": _id(face), "time_s": face["time_s"]}
                    found.append(names | facts | {"uri": known[video], "sound": known[video]})
        if not found:
            raise ValueError(f"no face of the run {self.run!r} lies in a span of {self.labels!r}.")
        return tabled(sorted(found, key=lambda row: row["time_s"]))

    def pictures(self, rows: pa.Table) -> Iterator[Callable[[], bytes]]:
        """Read the crops."""
        crops = {_id(face): face["crop"] for face in self._faces(rows["video"][0].as_py())}
        return (partial(_kept, crops[name], self.run) for name in rows["id"].to_pylist())

    def _videos(self) -> dict[str, str]:
        """Where each video of the run is, by its id."""
        corpus = place(self.run) / "corpus.parquet"
        if not corpus.exists():
            raise ValueError(
                f"`data.run` must be a run of `mien analyze`, but {self.run!r} is none."
            )
        rows = pq.read_table(inside(corpus), columns=["video_id", "uri"], filesystem=arrow(corpus))
        return dict(zip(rows["video_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))

    def _spans(self, known: dict[str, str]) -> list[dict[str, Any]]:
        spans = []
        for said, where in lines(place(self.labels), ("video", "label", "person")):
            if not said["person"]:
                raise ValueError(f"{where} must name a `person`: {LEAK}.")
            named = [v for v, uri in known.items() if said["video"] in (v, uri.rpartition("/")[2])]
            if len(named) != 1:
                raise ValueError(
                    f"{where} must name one video of the run {self.run!r}, but {said['video']!r} "
                    f"names {len(named)}: give its `video_id`."
                )
            start_s, stop_s = (seconds(said.get(name, ""), where) for name in ("start_s", "stop_s"))
            if stop_s is not None and stop_s <= (start_s or 0.0):
                raise ValueError(
                    f"`stop_s` must be greater than `start_s` ({start_s or 0.0:g}), but is "
                    f"{stop_s:g} ({where})."
                )
            spans.append(
                {"label": said["label"], "person": said["person"], "video": named[0]}
                | {"start_s": start_s or 0.0, "stop_s": float("inf") if stop_s is None else stop_s}
            )
        return spans

    def _faces(self, video: str) -> list[Face]:
        """The largest face of each frame."""
        record = json.loads((place(self.run) / "run.json").read_text())
        if "watch" not in record.get("tables", {}):
            raise ValueError(f"the run {self.run!r} must have a table `watch`, but has none.")
        table = Table(place(self.run) / "tables" / record["tables"]["watch"], table_schema(WATCH))
        largest: dict[float, Face] = {}
        for row in table.read(["video_id", "faces"], video_ids=[video], status="ok").to_pylist():
            for face in row["faces"] or []:
                face["video_id"] = video
                other = largest.setdefault(face["time_s"], face)
                if face["w"] * face["h"] > other["w"] * other["h"]:
                    largest[face["time_s"]] = face
        return list(largest.values())


def _id(face: Face) -> str:
    return row_id(face["video_id"], face["time_s"], face["x"], face["y"])


def _kept(crop: bytes | None, run: str) -> bytes:
    if crop is None:
        raise ValueError(f"the run {run!r} kept no picture of this face (`retain.crops`)")
    return crop
