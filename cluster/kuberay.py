"""Pods of a Kubernetes cluster with KubeRay: the manifest of a RayJob."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, ClassVar

import yaml

from .need import Machine, Node
from .slurm import given, pythons

_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class KubeRay:
    """A Ray cluster of equal worker pods, which KubeRay makes for one job and removes after it.

    Attributes:
        dry: Write the manifest, and submit nothing.
        image: Of all pods; holds what mien stands on, the same Python and Ray as here, and mien
            itself unless `wheel` is given.
        wheel: URL or path in the pods of mien's wheel, which Ray installs; `None`: the image holds
            mien.
        namespace: Of Kubernetes; `None`: the one that `kubectl` is set to.
        nodes: Worker pods.
        cores: Of each.
        gpus: Of each.
        memory_gb: Of each.
        head_cores: Of the pod that runs the command, which holds no workers.
        head_memory_gb: Of the pod that runs the command.
        object_store_gb: Of each pod, Ray's shared memory; part of its memory.
        spare_cpus: Logical CPUs of the head, for Ray Data's own tasks.
        volumes: Of all pods, as Kubernetes has them.
        mounts: Where they are, as Kubernetes' `volumeMounts`.
        secrets: Names of secrets whose entries become environment variables of all pods: keys of
            the object store, tokens.
        node_selector: Labels of the machines that worker pods may run on.
        attempts: How often a lost cluster is made anew; each takes up what is not done.
        keep_s: How long the pods stay after the end, for their logs.
        wait_s: How long the command waits for all pods, in seconds.
        environments: Path of a Python by name, in the image.
    """

    address: ClassVar[None] = None
    suffix: ClassVar[str] = "yaml"

    dry: bool = False
    image: str | None = None
    wheel: str | None = None
    namespace: str | None = None
    nodes: int = 1
    cores: int = 8
    gpus: int = 0
    memory_gb: float = 32.0
    head_cores: int = 2
    head_memory_gb: float = 8.0
    object_store_gb: float = 2.0
    spare_cpus: int = 2
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    attempts: int = 3
    keep_s: int = 600
    wait_s: float = 600.0
    environments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {"nodes": 1, "cores": 1, "gpus": 0, "head_cores": 1, "spare_cpus": 2, "attempts": 1}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(
                    f"`cluster.{name}` must be at least {limit}, but is {getattr(self, name)}."
                )
        for name in ("memory_gb", "head_memory_gb"):
            if getattr(self, name) <= self.object_store_gb:
                raise ValueError(
                    f"`cluster.{name}` must be greater than `cluster.object_store_gb` "
                    f"({self.object_store_gb:g}), but is {getattr(self, name):g}."
                )

    def machine(self) -> Machine:
        """What workers may take, for the plan."""
        free_gb = self.memory_gb - self.object_store_gb
        return Machine(
            nodes=(Node(cpus=self.cores, memory_gb=free_gb, gpus=self.gpus),) * self.nodes
        )

    def text(self, words: Sequence[str], out: str) -> str:
        """The manifest of a job.

        Args:
            words: What follows `mien`.
            out: The run's folder, as the pods see it.

        Raises:
            ValueError: There is no image, or what a pod writes to `out` would be lost with it.
        """
        if not self.image:
            raise ValueError("`cluster.image` must name a container image that holds mien.")
        self._refuse_pods_own(out)
        name = re.sub(r"[^a-z0-9]+", "-", out.rstrip("/").rpartition("/")[2].lower())[:20].strip(
            "-"
        )
        manifest = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {
                "generateName": f"mien-{name}-" if name else "mien-",  # each submission is a job
                **({"namespace": self.namespace} if self.namespace else {}),
            },
            "spec": self._spec(words),
        }
        return yaml.safe_dump(manifest, sort_keys=False, width=100)

    def submit(self, text: str) -> str:
        """Give a manifest to `kubectl`; returns what it answered.

        Raises:
            SubmissionError: It is not there, or did not take the job.
        """
        return given(["kubectl", "create", "--filename=-"], text)

    def _refuse_pods_own(self, out: str) -> None:
        mounted = [str(mount["mountPath"]).rstrip("/") for mount in self.mounts]
        if "://" not in out and not any(out.startswith(f"{path}/") for path in mounted):
            raise ValueError(
                "`out` must be a URL, or lie on a volume of `cluster.mounts` "
                f"({', '.join(mounted) or 'none'}), but is {out!r}: what a pod writes elsewhere is "
                "lost with it."
            )

    def _spec(self, words: Sequence[str]) -> dict[str, Any]:
        session = [
            "cluster=ray",
            f"cluster.nodes={self.nodes + 1}",
            f"cluster.wait_s={self.wait_s:g}",
            "cluster.env=[]",  # the pods have `secrets` themselves
            f"cluster.ship={str(bool(self.environments) and self.wheel is None).lower()}",
            f"cluster.cores={self.nodes * self.cores}",
            f"cluster.gpus={self.nodes * self.gpus}",
            f"cluster.spare_cpus={self.spare_cpus}",
            *pythons(self.environments),
        ]
        start = [
            "python",
            "-c",
            "import mien.jobs.main as m; m.main()",
        ]  # a wheel brings no command
        env = {} if self.wheel is None else {"runtimeEnvYAML": yaml.safe_dump(self._runtime_env())}
        return {
            "entrypoint": shlex.join([*start, *words, *session]),
            "backoffLimit": self.attempts - 1,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": self.keep_s,
            **env,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "headGroupSpec": {
                    "rayStartParams": self._params(**{"num-cpus": str(self.spare_cpus)}),
                    "template": self._pod("ray-head", self.head_cores, self.head_memory_gb, 0),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": self.nodes,
                        "minReplicas": self.nodes,
                        "maxReplicas": self.nodes,
                        "rayStartParams": self._params(),
                        "template": self._pod(
                            "ray-worker", self.cores, self.memory_gb, self.gpus, self.node_selector
                        ),
                    }
                ],
            },
        }

    def _runtime_env(self) -> dict[str, Any]:
        wheel = str(self.wheel)
        return {"py_modules": [wheel if "://" in wheel else f"file://{wheel}"]}

    def _params(self, **more: str) -> dict[str, str]:
        return {"object-store-memory": str(int(self.object_store_gb * _GB)), **more}

    def _pod(
        self,
        name: str,
        cores: int,
        memory_gb: float,
        gpus: int,
        selector: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        held = {"cpu": str(cores), "memory": f"{round(memory_gb * 1000)}M"}
        if gpus:
            held["nvidia.com/gpu"] = str(gpus)
        container: dict[str, Any] = {
            "name": name,
            "image": self.image,
            "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
            "resources": {"requests": held, "limits": dict(held)},
        }
        if self.secrets:
            container["envFrom"] = [{"secretRef": {"name": secret}} for secret in self.secrets]
        if self.mounts:
            container["volumeMounts"] = self.mounts
        pod: dict[str, Any] = {"containers": [container]}
        if self.volumes:
            pod["volumes"] = self.volumes
        if selector:
            pod["nodeSelector"] = selector
        return {"spec": pod}
