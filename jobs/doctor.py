"""`mien doctor`: what this machine has, and which roles which model can fill here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from rich.markup import escape
from rich.table import Column
from rich.table import Table as Lines

from ..actors.actor import Actor
from ..actors.packages import APART, EXTRAS, absent
from ..actors.weights import Weights
from ..cluster import environments
from ..cluster.session import Cluster
from . import provenance
from .profile import Profile, noncommercial
from .progress import console

OPTIONAL = ("torch", "transformers", "vllm", "sglang", "decord", "pyannote.audio", "whisperx")
KEYS = {"ANTHROPIC_API_KEY": "Claude", "HUME_API_KEY": "Hume", "HF_TOKEN": "weights with terms"}
"""Environment variables that hold a secret, and what asks for it."""


@dataclass(kw_only=True)
class Doctor:
    """What this machine has, which roles which model can fill here, and how to bring the rest.

    Starts nothing, downloads nothing, and never prints a key.

    Attributes:
        models: The profile to check.
        cluster: The machine to check it for.
    """

    models: Profile
    cluster: Cluster

    def __call__(self) -> int:
        """Print it.

        Returns:
            0 when every role of the profile can be filled, 1 otherwise.
        """
        self._machine()
        self._environments()
        lines = Lines("role", "actor", Column("state", overflow="fold"), show_lines=True)
        unfilled = []
        for role, candidates in self.models.roles.items():
            taken = not candidates
            for i, name in enumerate(candidates):
                if name is None:
                    lines.add_row("", "-", "spare" if taken else "the role is left out")
                    taken = True
                    continue
                actor = self.models.actors[name]
                hurdles = list(self._hurdles(actor))
                state = "cannot work here" if hurdles else "spare" if taken else "fills the role"
                taken = taken or not hurdles
                text = escape("\n".join([state, *self._facts(actor, hurdles)]))
                lines.add_row("" if i else role, name, text)
            unfilled += [] if taken else [role]
        console.print(lines)
        for step in self._steps():
            console.print(escape(step))
        if unfilled:
            console.print(f"Roles that nobody can fill here: {', '.join(unfilled)}.")
        return int(bool(unfilled))

    def _machine(self) -> None:
        machine = provenance.machine()
        free = psutil.virtual_memory().available / 1e9
        console.print(
            f"{machine['system']}, {machine['processor']}, {self.cluster.workers} cores used of "
            f"{machine['cores']}, {free:.1f} of {machine['memory_gb']} GB memory free, "
            f"{shutil.disk_usage('.').free / 1e9:.0f} GB disk free here"
        )
        console.print(f"GPU: {gpus()}")
        console.print(f"ffmpeg program: {shutil.which('ffmpeg') or 'none (not needed)'}")
        states = (f"{key} {'set' if os.environ.get(key) else 'not set'}" for key in self._keys())
        console.print(f"keys: {', '.join(states)}")

    def _keys(self) -> Iterator[str]:
        yield from KEYS
        for actor in self.models.actors.values():
            key = getattr(actor, "api_key_env", None)
            if key and key not in KEYS:
                yield key

    def _environments(self) -> None:
        known = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
        console.print(f"this environment ({sys.executable}): {known}")
        lacking = absent(OPTIONAL)
        console.print(f"  not in it: {', '.join(lacking) or 'nothing that a profile needs'}")
        for name, python in self.cluster.environments.items():
            look = environments.look(python)
            known = ", ".join(f"{k} {v}" for k, v in look.versions.items())
            state = look.problem()
            console.print(
                f"environment {name} ({python}): "
                + escape(f"cannot be used, {state}" if state else f"python {look.python}, {known}")
            )

    def _hurdles(self, actor: Actor) -> Iterator[str]:
        """Why an actor cannot, or may not, work here."""
        if noncommercial(actor) and not self.models.allow_nc:
            yield "not for commercial use: `licence.allow_nc=true` if yours is not"
        absent_weights = {w.missing(): _absent(w) for w in actor.weights() if w.path is None}
        for reason in filter(None, (actor.missing() or "").split("; ")):
            yield absent_weights.get(reason, reason)
        problem = environments.problem(actor, self.cluster.environments)
        if problem:
            yield problem

    def _facts(self, actor: Actor, hurdles: list[str]) -> Iterator[str]:
        own = actor.provenance()
        licence = f"({own['licence']})" if own["licence"] else ""
        yield " ".join(x for x in (own["model"], own["revision"], licence) if x)
        yield from (f"! {hurdle}" for hurdle in hurdles)
        for weights in actor.weights():
            place = weights.find()
            if place is not None:
                yield f"weights: {place}"
        if actor.environment:
            yield f"environment: {actor.environment}"
        yield actor.quality

    def _steps(self) -> Iterator[str]:
        """What to do so that every candidate can work."""
        names = {n for candidates in self.models.roles.values() for n in candidates if n}
        actors = {name: actor for name, actor in self.models.actors.items() if name in names}
        lacking = {
            p: None for a in actors.values() if not a.environment for p in absent(a.packages)
        }
        usual = [name for name in lacking if name not in EXTRAS and name not in APART]
        if usual:
            yield f"make setup   # brings {', '.join(usual)}"
        yield from (f"{EXTRAS[name]}   # brings {name}" for name in lacking if name in EXTRAS)
        for name in lacking:
            if name in APART:
                yield f"{environments.recipe(name, [name])}   # then +cluster.environments.{name}="
        missing = [
            w for a in actors.values() for w in a.weights() if w.path is None and not w.find()
        ]
        if missing:
            yield f"mien fetch models={self.models.name}   # brings {_sum(missing)}"
        restricted = [name for name, actor in actors.items() if noncommercial(actor)]
        if restricted and not self.models.allow_nc:
            yield f"licence.allow_nc=true   # allows {', '.join(restricted)}"


def _absent(weights: Weights) -> str:
    """In short, for what brings them stands below."""
    size = f" ({weights.size_gb:g} GB)" if weights.size_gb else ""
    terms = f"; terms to accept: {weights.terms}" if weights.terms else ""
    return f"the weights {weights.name}, revision {weights.revision}, are not here{size}{terms}"


def _sum(missing: list[Weights]) -> str:
    names = list(dict.fromkeys(weights.name for weights in missing))
    known = {weights.name: weights.size_gb or 0 for weights in missing}
    what = ", ".join(names) if len(names) < 3 else f"{len(names)} sets of weights"
    return f"{what}, about {sum(known.values()):.1f} GB" if any(known.values()) else what


def gpus() -> str:
    """The devices of this machine: as torch sees them, else as the driver does."""
    if not absent(["torch"]):
        import torch

        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        known = ", ".join(f"{one.name} ({one.total_memory / 1e9:.0f} GB)" for one in found)
        return known or f"none that torch {torch.__version__} can use"
    if shutil.which("nvidia-smi") is None:
        return "none"
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    known = "; ".join(done.stdout.strip().splitlines())
    return f"{known} (no torch to use it)" if known and not done.returncode else "none"
