"""Metrics: each fact is passed on once, under the names that the dashboard asks for."""

import json
import re
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from mien.cluster import metrics
from mien.cluster.execution import run
from mien.cluster.host import Stage
from mien.cluster.metrics import COUNTERS, GAUGES, Metrics
from mien.cluster.phase import Phase
from mien.cluster.report import Crewed, Report
from mien.cluster.session import Cluster, session


class Recorder:
    """Counts and sets in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = defaultdict(float)

    def make(self, name: str, text: str, tags: tuple[str, ...]) -> "Recorder.One":
        assert text.endswith(".")
        return Recorder.One(self, name, tags)

    class One:
        def __init__(self, book: "Recorder", name: str, names: tuple[str, ...]) -> None:
            self.book, self.name, self.names = book, name, names

        def inc(self, value: float, tags: dict[str, str]) -> None:
            assert set(tags) == set(self.names)
            self.book.values[self.name, *tags.values()] += value

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert set(tags) == set(self.names)
            self.book.values[self.name, *tags.values()] = value


def test_counters_grow_by_what_is_new() -> None:
    book = Recorder()
    told = Metrics(make=book.make)
    report = Report(name="watch", rows=10, skipped=2)
    for ok, failed, media_s, seconds in ((1, 0, 5.0, 2), (1, 0, 5.0, 2), (4, 1, 20.0, 9)):
        report.ok, report.failed, report.media_s = ok, failed, media_s
        report.stages["watch"] = seconds
        told.show(report)
    assert book.values["mien_rows", "watch", "ok"] == 4
    assert book.values["mien_rows", "watch", "failed"] == 1
    assert book.values["mien_media_seconds", "watch"] == 20.0
    assert book.values["mien_actor_seconds", "watch", "watch"] == 9.0
    assert book.values["mien_rows_left", "watch"] == 3


def test_the_dashboard_asks_for_names_that_exist() -> None:
    text = Path(metrics.__file__).with_name("grafana.json").read_text()
    asked = set(re.findall(r"ray_(mien_\w+)", text))
    assert {re.sub("_total$", "", name) for name in asked} == {*COUNTERS, *GAUGES}
    for name in COUNTERS:
        assert f"ray_{name}_total" in text
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["targets"][0]["expr"] for panel in panels)


def test_efficiency_is_the_rate_over_what_workers_do_alone() -> None:
    pool = Crewed(stages=("watch",), alone=5.0)
    pool.worked(2, 80, 10.0)
    pool.worked(1, 10, 4.0)  # a last wave with fewer workers
    assert pool.summary()["efficiency"] == 90 / 5 / 24
    assert pool.summary()["workers"] == 2
    unknown = Crewed(stages=("watch",))
    unknown.worked(2, 90, 10.0)
    assert (unknown.summary()["rows_per_s"], unknown.summary()["efficiency"]) == (9.0, None)
    assert Crewed(stages=("watch",), alone=5.0).summary()["efficiency"] is None


@pytest.mark.ray
def test_prometheus_reads_them_from_ray(doubles: ModuleType, tmp_path: Path) -> None:
    import ray

    phase = Phase(name="toy", stages=(Stage(role="double", actor=doubles.Double()),))
    told = Metrics()
    with session(Cluster(cores=1)):
        report = run(phase, doubles.manifest([None] * 5), tmp_path, progress=told.show)
        assert report.ok == 5
        port = ray.nodes()[0]["MetricsExportPort"]
        found = ""
        until = time.monotonic() + 30
        while "mien_rows_total" not in found and time.monotonic() < until:
            time.sleep(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                found = answer.read().decode()
    line = next(x for x in found.splitlines() if x.startswith("ray_mien_rows_total{"))
    assert 'phase="toy"' in line
    assert 'status="ok"' in line
    assert line.endswith(" 5.0")
