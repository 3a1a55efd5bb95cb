"""`mien plan`: everything that is known before anything is spent, and nothing started."""

import shutil
import wave
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from mien.cluster.findings import Store
from mien.cluster.plan import Measured
from mien.jobs.costs import Bill
from mien.jobs.forecast import Forecast
from mien.jobs.main import built, configuration, run
from mien.jobs.plan import Plan, bar, clock
from mien.jobs.profile import Profile
from mien.jobs.tiers import PROFILES, Rates, asker

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with 90 s of silence."""
    path = tmp_path / "corpus" / "a.wav"
    path.parent.mkdir()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 90))
    return path.parent


def planned(corpus: Path, *words: str) -> int:
    out = corpus.parent / "run"
    return run(["plan", str(corpus), f"out={out}", f"profile.dir={corpus.parent}", *words])


def test_a_plan_says_everything_and_starts_nothing(
    corpus: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    assert planned(corpus, "cluster.cores=2", "cluster.memory_gb=8") == 0
    said = capsys.readouterr().out
    for part in (
        *("0.03 h of media (1 by their headers)", "2 cores, 8 GB", "declared", "█", "░"),
        *("unknown: `mien profile` measures it", "local", "hybrid", "premium", "full API"),
        *("tokens in/h", "disk: about", "free: "),
    ):
        assert part in said, part
    assert not (corpus.parent / "run").exists()


def test_a_chain_that_does_not_fit_is_refused(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    assert planned(corpus, "cluster.memory_gb=0.2") == 2
    assert "a worker of 'probe' needs" in capsys.readouterr().err


def test_a_run_that_does_not_fit_the_disk_is_refused(
    corpus: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1e9))
    assert planned(corpus) == 2
    assert "mien clean" in capsys.readouterr().err


def test_times_are_there_once_speeds_are_measured(
    corpus: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Measured(startup_s=1.0, memory_gb={1: 0.3}, rates={1: 0.5})
    monkeypatch.setattr(Store, "find", lambda self, actor, row_s=None: known)
    assert planned(corpus, "cluster.cores=2", "cluster.memory_gb=8") == 0
    said = capsys.readouterr().out
    assert "unknown: " not in said
    assert "measured" in said
    assert " s " in said


def test_current_is_priced_for_the_whole_corpus_whatever_is_left(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"corpus.path={corpus}", f"out={corpus.parent / 'run'}"]
    rates = ["job.rates.watts=200", "job.rates.usd_per_kwh=0.5", "cluster.memory_gb=8"]
    known = Measured(startup_s=1.0, memory_gb={1: 0.3}, rates={1: 0.5})
    monkeypatch.setattr(Store, "find", lambda self, actor, row_s=None: known)

    def local() -> Bill:
        found: list[Bill] = []
        monkeypatch.setattr("mien.jobs.plan._priced", lambda rows, *_: found.extend(rows))
        built(configuration("plan", [*words, *rates]).job)()
        return found[0]

    before = local()
    assert before.dollars > 0
    left = Plan.ahead

    def done(self: Plan, *args: Any) -> Forecast:  # noqa: ANN401
        made = left(self, *args)
        rows = {name: replace(one, todo=0.0) for name, one in made.rows.items()}
        return replace(made, rows=rows)

    monkeypatch.setattr(Plan, "ahead", done)
    assert local().dollars == pytest.approx(before.dollars)


def test_an_assumption_can_be_overridden(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    assert planned(corpus, "job.assume.speech=0.5", "job.assume.utterances=2468") == 0
    assert "~1234" in capsys.readouterr().out


def test_money_beyond_the_budget_is_pointed_out(
    corpus: Path, capsys: pytest.CaptureFixture
) -> None:
    assert planned(corpus, "budget.usd=0.001") == 0
    assert "> budget 0.001" in capsys.readouterr().out


def test_bars_never_leave_their_frame() -> None:
    assert bar(30, 24, 8) == "█" * 8
    assert bar(0, 24, 8) == "░" * 8
    assert bar(3, None) == ""
    assert clock(0.9999) == "60.0 min"


@pytest.mark.parametrize("name", PROFILES)
def test_the_tiers_are_what_their_profiles_ask(name: str) -> None:
    profile = built(configuration("analyze", [f"models={name}"]).models)
    assert isinstance(profile, Profile)
    one = asker(profile)
    assert one is not None
    assert one.choice == profile.moments
    assert one.thumbnail_px == 448


def test_a_local_profile_asks_nobody() -> None:
    profile = built(configuration("analyze", ["models=embedded"]).models)
    assert isinstance(profile, Profile)
    assert asker(profile) is None


@pytest.mark.parametrize(
    ("wrong", "part"), [({"full_hz": 0}, "`full_hz`"), ({"watts": 10.0}, "`watts`")]
)
def test_wrong_rates_are_named(wrong: dict[str, float], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Rates(**wrong)  # type: ignore[arg-type]
