from mien.jobs.sweep.words import divided


def test_words_go_to_the_sweep_or_to_the_job_that_it_tunes() -> None:
    words = ["job=train", "sweep=x", "~sweep.space.a", "+sweep.b=1", "job.compare=[]", "out=o"]
    own, job, inner = divided([*words, "model=m", "cluster.cores=2", "folder/with=sign", "faces"])
    assert job == "train"
    assert own == ["sweep=x", "~sweep.space.a", "+sweep.b=1", "out=o", "cluster.cores=2"]
    assert inner == [
        *("job.compare=[]", "out=o", "model=m", "cluster.cores=2", "folder/with=sign", "faces")
    ]


def test_what_is_tuned_is_a_benchmark_unless_said() -> None:
    assert divided(["benchmark=meld"])[1:] == ("benchmark", ["benchmark=meld"])
