"""`mien submit analyze ... cluster=slurm`: a job into the queue of a cluster."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from omegaconf import DictConfig, OmegaConf

from ..datasets.store import place, replace


class Queue(Protocol):
    """What a configuration of the group `cluster` must be, for a job to be sent there."""

    suffix: str
    dry: bool

    def text(self, words: Sequence[str], out: str) -> str:
        """The script or manifest of a job."""
        ...

    def submit(self, text: str) -> str:
        """Hand it over; returns what was answered."""
        ...


@dataclass(kw_only=True)
class Submit:
    """Send a job to Slurm or Kubernetes: `mien submit analyze VIDEOS cluster=slurm`.

    The words after `submit` are those of the job, which is checked here as if it were to run; those
    that begin with `cluster` say where it goes. The script or manifest is kept in the run's folder,
    and shown; with `cluster.dry=true` that is all.

    Attributes:
        cluster: Where to.
        words: A job, and its own words.
    """

    cluster: Queue
    words: list[str] = field(default_factory=list)

    def __call__(self) -> int:
        """Check the job, write down how it is started, and hand that over."""
        from .main import UsageError, built, configuration

        if not hasattr(self.cluster, "submit"):
            raise UsageError(
                "`mien submit` sends a job to a queue: give `cluster=slurm` or `cluster=kuberay`. "
                "On this machine, or on a Ray cluster that stands already, give the job itself."
            )
        if not self.words:
            raise UsageError("what is to be submitted? For example `mien submit analyze VIDEOS`.")
        name, *rest = self.words
        cfg = configuration(name, [*rest, "cluster=ray"])
        if "cluster" not in cfg.job:
            raise UsageError(f"`mien {name}` needs no cluster: give it without `submit`.")
        built(cfg.job)
        text = self.cluster.text([name, *settled(name, rest, cfg)], cfg.out)
        kept = place(cfg.out) / "launch" / f"{name}.{self.cluster.suffix}"
        replace(kept, text.encode())
        sys.stdout.write(text)
        answer = "nothing was submitted (`cluster.dry=true`)."
        if not self.cluster.dry:
            answer = self.cluster.submit(text)
        sys.stderr.write(f"mien: {kept}: {answer}\n")
        return 0


def settled(name: str, words: Sequence[str], cfg: DictConfig) -> list[str]:
    """The words of a job with its paths as they were understood here: absolute."""
    from .main import ARGUMENTS, sorted_words

    bare, paths, overrides = sorted_words(words)
    given = {*paths, "out", *(ARGUMENTS[name] for _ in bare)}
    return [f"{key}={OmegaConf.select(cfg, key)}" for key in sorted(given)] + overrides


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part what follows `mien submit`: where it goes, and the job with its own words.

    Example:
        >>> parted(["analyze", "videos", "cluster=slurm", "cluster.nodes=4", "out=run"])
        (['cluster=slurm', 'cluster.nodes=4'], ['analyze', 'videos', 'out=run'])
    """
    there = [word for word in words if re.match(r"[+~]*cluster[.=]", word)]
    return there, [word for word in words if word not in there]
