"""`mien doctor`: what this machine has, and which roles which model can fill here."""

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import psutil
from rich.markup import escape
from rich.table import Table as Lines

from ..cluster.session import Cluster
from . import provenance
from .profile import Profile
from .progress import console

OPTIONAL = ("torch", "transformers", "vllm", "decord", "torchcodec", "resemblyzer", "whisperx")


@dataclass(kw_only=True)
class Doctor:
    """A look at this machine; starts nothing.

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
        machine = provenance.machine()
        disk = shutil.disk_usage(".")
        free = psutil.virtual_memory().available / 1e9
        console.print(
            f"{machine['system']}, {machine['processor']}, {self.cluster.workers} cores used of "
            f"{machine['cores']}, {free:.1f} of {machine['memory_gb']} GB memory free, "
            f"{disk.free / 1e9:.0f} GB disk free here"
        )
        console.print(", ".join(f"{k} {v}" for k, v in provenance.versions().items()))
        absent = [name for name in OPTIONAL if not _installed(name)]
        console.print(f"not installed, needed by other profiles: {', '.join(absent) or 'nothing'}")
        console.print(f"ffmpeg program: {shutil.which('ffmpeg') or 'none (not needed)'}")
        lines = Lines("role", "actor", "model", "licence", "here", "how good", show_lines=True)
        unfilled = False
        for role, names in self.models.roles.items():
            taken = False
            for name in names:
                actor = self.models.actors[name]
                reason = actor.missing()
                here = "no: " + reason if reason else "spare" if taken else "fills the role"
                taken = taken or reason is None
                own = actor.provenance()
                model = f"{own['model']} {own['revision']}".strip()
                lines.add_row(role, name, model, actor.licence, escape(here), escape(actor.quality))
            unfilled = unfilled or not taken
        console.print(lines)
        return int(unfilled)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
