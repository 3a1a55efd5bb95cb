"""Every space that we bring fits the job that it is meant for."""

import pytest

from mien.jobs.main import built, configuration, inner, names
from mien.jobs.sweep.job import Sweep

JOBS = {
    "classifier": ("train", ["model=improved_cnn", "data.path=faces"]),
    "fusion": (
        "benchmark",
        ["benchmark=timeline", "benchmark.folder=run", "benchmark.truth=t.csv"],
    ),
    "text_head": ("benchmark", ["benchmark=meld", "benchmark.path=meld"]),
    "voice": ("benchmark", ["benchmark=emodb", "benchmark.path=emodb"]),
}


@pytest.mark.parametrize("name", names("sweep"))
def test_a_space_fits_its_job(name: str) -> None:
    sweep = built(configuration("sweep", [f"sweep={name}"]).job)
    assert isinstance(sweep, Sweep)
    job, words = JOBS[name]
    tuned = inner(job, words)
    tuned.check(sweep.search.domains)  # every key exists, and the job takes both ends of each
    if name != "fusion":  # whose features are the tables of a run
        assert tuned.extractors(sweep.search.domains) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["job=trian"], "there is no job 'trian' to tune; did you mean 'train'"),
        (["job=sweep"], "there is no job 'sweep' to tune"),
        (["job=train", "model=tiny_vitt"], "did you mean 'tiny_vit'"),
        (["sweep=text_hed"], "did you mean 'text_head'"),
        (["sweep.trails=3"], "did you mean 'sweep.trials'"),
    ],
)
def test_words_that_cannot_be_run_name_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mien.jobs.main import run

    assert run(["sweep", *words]) == 2
    assert message in capsys.readouterr().err
