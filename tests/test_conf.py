"""Every configuration composes, and builds what it names."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_class, instantiate

from mien.actors.actor import Actor
from mien.jobs.main import ARGUMENTS, names
from mien.jobs.profile import Profile

CONF = Path(__file__).parents[1] / "conf"
FILLED = {
    "folder": "corpus.path=videos",
    "list": "corpus.path=list.csv",
    "urls": "corpus.urls=[https://example.org/a.mp4]",
}


OF_JOBS = {"benchmark": "benchmark", "data": "train", "model": "train", "sweep": "sweep"}
"""Groups that a job brings with it."""
PATHS = {
    "benchmark": ["benchmark.path=x"],
    "timeline": ["benchmark.folder=x", "benchmark.truth=y"],
    "data": ["data.path=x"],
    "train": ["data.path=x"],
    "faces": ["data.run=x", "data.labels=y"],
    "validate": ["job.path=x"],
}


def composed(*overrides: str) -> Any:  # noqa: ANN401
    with initialize_config_module("mien.conf", version_base="1.3"):
        return compose("mien", overrides=list(overrides))


def choices() -> list[tuple[str, str]]:
    """Every group of the root configuration with each of its choices."""
    groups = ("corpus", "models", "cluster")
    return [(group, name) for group in groups for name in names(group)]


def test_every_group_is_tested() -> None:
    assert {p.name for p in CONF.iterdir() if p.is_dir() and not p.name.startswith("__")} == {
        "actor",
        "job",
        *OF_JOBS,
        *(group for group, _ in choices()),
    }


@pytest.mark.parametrize(("group", "name"), choices())
def test_every_choice_builds(group: str, name: str) -> None:
    filled = FILLED[name] if group == "corpus" else FILLED["folder"]
    cfg = composed(f"{group}={name}", filled)
    built = instantiate(cfg[group], _convert_="object")
    assert type(built) is get_class(cfg[group]._target_) or isinstance(built, Profile)


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in OF_JOBS for name in names(group)]
)
def test_every_choice_of_a_job_builds(group: str, name: str) -> None:
    paths = PATHS.get(name, PATHS.get(group, []))
    cfg = composed(f"job={OF_JOBS[group]}", f"{group}={name}", *paths)
    built = instantiate(cfg[group], _convert_="object")
    assert type(built) is get_class(cfg[group]._target_)


@pytest.mark.parametrize("name", names("job"))
def test_every_job_builds_and_says_what_it_does(name: str) -> None:
    cfg = composed(f"job={name}", FILLED["folder"], *PATHS.get(name, []))
    job = instantiate(cfg.job, _convert_="object")
    assert callable(job)
    text = inspect.getdoc(get_class(cfg.job._target_))
    assert text
    assert text.splitlines()[0].endswith(".")


def test_a_bare_word_fills_a_key_that_exists() -> None:
    assert set(ARGUMENTS) <= set(names("job"))


@pytest.mark.parametrize("name", names("actor"))
def test_every_actor_builds_and_says_whether_it_can_work_here(name: str) -> None:
    cfg = composed(f"+actor@probed={name}")
    actor = instantiate(cfg.probed, _convert_="object")
    assert isinstance(actor, Actor)
    reason = actor.missing()
    assert reason is None or len(reason.split()) > 3
    assert actor.reads
    assert len(actor.adds)
    assert actor.model
    assert actor.licence
    assert actor.quality
    assert actor.memory_gb > 0


@pytest.mark.parametrize("name", names("models"))
def test_a_profile_uses_each_actor_that_it_lists(name: str) -> None:
    profile = instantiate(composed(f"models={name}").models, _convert_="object")
    used = {actor for candidates in profile.roles.values() for actor in candidates if actor}
    assert used == set(profile.actors)
