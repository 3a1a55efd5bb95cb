"""Keeping measurements: for exactly what was measured."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mien.actors.polarity import Polarity
from mien.actors.voice_activity import VoiceActivity
from mien.cluster import findings
from mien.cluster.findings import Store
from mien.cluster.measure import Finding, Step
from mien.cluster.need import Measured

STEPS = tuple(
    Step(size=n, rows_s=10.0 * n, media_s_s=5.0, memory_gb=0.1 * n, device_gb=None) for n in (1, 2)
)
FOUND = Finding(startup_s=2.0, steps=STEPS, rows=3, longest_s=30.0, bound_s=30.0, ended="all")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "measured")


def test_what_was_kept_is_found(store: Store) -> None:
    actor = Polarity()
    assert store.find(actor) is None
    path = store.save(actor, FOUND)
    assert path == store.path(actor)
    assert store.read(actor) == FOUND
    assert store.find(actor) == Measured(
        startup_s=2.0, memory_gb={1: 0.1, 2: 0.2}, gpu_memory_gb={}, rates={1: 10.0, 2: 20.0}
    )


def test_what_could_not_be_read_is_left_out(store: Store) -> None:
    unread = replace(STEPS[0], memory_gb=None)
    store.save(Polarity(), replace(FOUND, steps=(unread, STEPS[1])))
    known = store.find(Polarity())
    assert known is not None
    assert known.memory_gb == {2: 0.2}
    assert known.rates == {1: 10.0, 2: 20.0}


def test_without_the_memory_of_its_device_what_is_declared_holds(store: Store) -> None:
    actor = Polarity(gpus=0.25)
    store.save(actor, FOUND)
    assert store.find(actor) is None
    store.save(actor, replace(FOUND, steps=(replace(STEPS[0], device_gb=1.5),)))
    known = store.find(actor)
    assert known is not None
    assert known.gpu_memory_gb == {1: 1.5}


def test_rows_to_come_can_be_longer(store: Store) -> None:
    """Memory is then no less than declared; the rate goes with the length."""
    actor = Polarity(memory_gb=0.15)
    for bound_s, gb in (
        (33.0, {1: 0.1, 2: 0.2}),
        (60.0, {1: 0.15, 2: 0.2}),
        (None, {1: 0.15, 2: 0.2}),
    ):
        store.save(actor, replace(FOUND, bound_s=bound_s))
        known = store.find(actor)
        assert known is not None
        assert known.memory_gb == gb
    known = store.find(actor, row_s=60.0)
    assert known is not None
    assert known.rates == {1: 5 / 60, 2: 5 / 60}
    timeless = tuple(replace(step, media_s_s=0.0) for step in STEPS)
    store.save(actor, replace(FOUND, steps=timeless))
    known = store.find(actor, row_s=60.0)
    assert known is not None
    assert known.rates == {1: 10.0, 2: 20.0}


def test_what_a_plan_decides_is_not_part_of_it(store: Store) -> None:
    other = VoiceActivity(cpus=2.0, gpus=0.5, memory_gb=9.0, batch_size=7)
    assert store.path(other) == store.path(VoiceActivity())


def test_another_parameter_is_another_measurement(store: Store) -> None:
    assert store.path(VoiceActivity(threads=2)) != store.path(VoiceActivity())
    assert store.path(VoiceActivity(threshold=0.4)) != store.path(VoiceActivity())
    assert store.path(VoiceActivity(environment="other")) != store.path(VoiceActivity())


@pytest.mark.parametrize(
    ("name", "value"), [("versions", {"numpy": "0.1"}), ("device", "another machine")]
)
def test_other_versions_or_another_device_are_another_measurement(
    store: Store, name: str, value: Mapping[str, str] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(Polarity(), FOUND)
    monkeypatch.setattr(findings, name, lambda: value)
    assert store.find(Polarity()) is None


def test_a_broken_file_is_named(store: Store) -> None:
    path = store.save(Polarity(), FOUND)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValueError, match=f"'{path}' is no measurement"):
        store.find(Polarity())


def test_this_machine_has_a_name() -> None:
    assert findings.device().strip(", ")
    assert findings.versions()["numpy"].split(".")[0] == "2"
