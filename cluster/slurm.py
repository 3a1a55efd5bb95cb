"""Nodes of a Slurm cluster: the script of a job that starts Ray on them."""

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, StrictUndefined

from .need import Machine, Node

STARTS = 3
"""How often Ray is started on a node."""
_GB = 10**9
_MIB = 2**20


class SubmissionError(RuntimeError):
    """A job was not taken. Says what the queue answered."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Equal nodes of a Slurm cluster, which all see the run's folder, the media, and the programs.

    Attributes:
        dry: Write the script, and submit nothing.
        nodes: How many.
        cores: Of each.
        gpus: Of each.
        memory_gb: Of each; `None`: what the partition gives.
        object_store_gb: Of each, Ray's shared memory; part of `memory_gb`.
        spare_cpus: Logical CPUs beyond the cores, on the first node, for Ray Data's own tasks.
        time: After which Slurm ends the job, as `sbatch --time` has it.
        notice_s: So long before that the run ends itself, and the job goes back into the queue.
        partition: Where; `None`: Slurm's default.
        account: Who pays; `None`: Slurm's default.
        options: Further options of `sbatch`, for example `--constraint=a100`.
        setup: Lines of the script before all else, for example `module load cuda`.
        programs: Folder of the programs `mien`, `ray` and `python` on every node; `None`: where
            this command's own are.
        temp_dir: Folder on a local disk of each node; short.
        wait_s: How long the nodes are waited for, in seconds.
        environments: Path of a Python by name, the same on all nodes.
    """

    address: ClassVar[None] = None
    suffix: ClassVar[str] = "sh"

    dry: bool = False
    nodes: int = 1
    cores: int = 8
    gpus: int = 0
    memory_gb: float | None = None
    object_store_gb: float = 2.0
    spare_cpus: int = 2
    time: str = "24:00:00"
    notice_s: int = 120
    partition: str | None = None
    account: str | None = None
    options: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    programs: str | None = None
    temp_dir: str = "/tmp"
    wait_s: float = 300.0
    environments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in {"nodes": 1, "cores": 1, "gpus": 0, "spare_cpus": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"`cluster.{name}` must be at least {least}, but is {getattr(self, name)}."
                )
        if len(self.temp_dir) > 25:  # the path of a socket has at most 107 bytes
            raise ValueError(
                f"`cluster.temp_dir` must have at most 25 characters, but is {self.temp_dir!r}."
            )
        if self.object_store_gb < 0.1:
            raise ValueError(
                f"`cluster.object_store_gb` must be at least 0.1, but is {self.object_store_gb:g}."
            )
        if self.memory_gb is not None and self.memory_gb <= self.object_store_gb:
            raise ValueError(
                f"`cluster.memory_gb` must be greater than `cluster.object_store_gb` "
                f"({self.object_store_gb:g}), but is {self.memory_gb:g}."
            )

    def machine(self) -> Machine:
        """What workers may take, for the plan."""
        free_gb = None if self.memory_gb is None else self.memory_gb - self.object_store_gb
        node = Node(cpus=self.cores, memory_gb=free_gb, gpus=self.gpus)
        return Machine(nodes=(node,) * self.nodes)

    def text(self, words: Sequence[str], out: str) -> str:
        """The script of a job.

        Args:
            words: What follows `mien`; holds in the folder that this command runs in.
            out: The run's folder.
        """
        session = [
            f"cluster.nodes={self.nodes}",
            f"cluster.wait_s={self.wait_s:g}",
            "cluster.env=[]",  # `srun` passes all of it on
            f"cluster.ship={str(bool(self.environments)).lower()}",  # theirs lack mien
            f"cluster.cores={self.nodes * self.cores}",
            f"cluster.gpus={self.nodes * self.gpus}",
            f"cluster.spare_cpus={self.spare_cpus}",
            *pythons(self.environments),
        ]
        template = Path(__file__).with_name("slurm.sh").read_text()
        environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
        return environment.from_string(template).render(
            options=self._options(out),
            setup=self.setup,
            programs=shlex.quote(self.programs or str(Path(sys.executable).parent)),
            temp_dir=shlex.quote(self.temp_dir),
            resources=shlex.join(self._resources()),
            head_cpus=self.cores + self.spare_cpus,
            nodes=self.nodes,
            cores=self.cores,
            tries=STARTS,
            words=shlex.join(words),
            session=shlex.join(session),
        )

    def submit(self, text: str) -> str:
        """Give a script to `sbatch`; returns what it answered.

        Raises:
            SubmissionError: It is not there, or did not take the job.
        """
        return given(["sbatch"], text)

    def _options(self, out: str) -> list[str]:
        log = f"{out}/launch/slurm-%j.log" if "://" not in out else "slurm-%j.log"
        wanted = {
            "job-name": "mien",
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": self.cores,
            "gpus-per-node": self.gpus or None,
            "mem": f"{math.ceil(self.memory_gb * _GB / _MIB)}M" if self.memory_gb else None,
            "time": self.time,
            "signal": f"B:USR1@{self.notice_s}",
            "partition": self.partition,
            "account": self.account,
            "chdir": str(Path.cwd()),
            "output": log,
            "open-mode": "append",
        }
        named = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
        return [shlex.quote(option) for option in [*named, "--requeue", *self.options]]

    def _resources(self) -> list[str]:
        """Options of `ray start` that are the same on all nodes."""
        store = f"--object-store-memory={int(self.object_store_gb * _GB)}"
        memory = self.machine().nodes[0].memory_gb
        free = [] if memory is None else [f"--memory={int(memory * _GB)}"]
        return [f"--num-gpus={self.gpus}", store, *free]


def pythons(environments: Mapping[str, str]) -> list[str]:
    r"""The words of a command line that name environments, whatever characters a path has.

    Example:
        >>> print(*pythons({"x": "/a, b's/python"}))
        +cluster.environments.x='/a, b\'s/python'
    """
    return [f"+cluster.environments.{name}={_quoted(path)}" for name, path in environments.items()]


def _quoted(text: str) -> str:
    """As Hydra's grammar has it: backslashes count only before a quote."""
    text = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text)
    return "'" + text.replace("'", r"\'") + "'"


def given(command: Sequence[str], text: str) -> str:
    """Give a text to a program that puts it into a queue; returns what it said.

    Raises:
        SubmissionError: It is not there, or refused.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise SubmissionError(
            f"there is no program `{command[0]}` here: submit from a machine that has it, or write "
            "the file only, with `cluster.dry=true`."
        ) from error
    except subprocess.CalledProcessError as error:
        raise SubmissionError(f"`{command[0]}` refused: {error.stderr.strip()}") from error
    return done.stdout.strip()
