"""The manifest of a RayJob, held against the schema of KubeRay's resource."""

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mien.cluster.kuberay import KubeRay

SCHEMA = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())
WORDS = ["analyze", "corpus.path=s3://bucket/my videos", "out=s3://bucket/Run_1"]


def manifest(out: str = "s3://bucket/Run_1", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
    return yaml.safe_load(KubeRay(image="mien:1", **parameters).text(WORDS, out))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"gpus": 1, "nodes": 4, "node_selector": {"gpu": "h200"}, "namespace": "behaviour"},
        {"wheel": "s3://bucket/mien-0.1.0-py3-none-any.whl", "secrets": ["bucket-keys"]},
        {
            "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
            "mounts": [{"name": "runs", "mountPath": "/runs"}],
        },
    ],
)
def test_a_manifest_fulfils_the_schema(parameters: dict[str, Any]) -> None:
    made = manifest(**parameters)
    jsonschema.validate(made, SCHEMA)
    made["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] = "2"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA)


def test_it_says_what_the_configuration_says() -> None:
    spec = manifest(nodes=3, cores=16, gpus=2, memory_gb=64.5, attempts=5, spare_cpus=4)["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:3] == ["python", "-c", "import mien.jobs.main as m; m.main()"]
    assert words[3:6] == WORDS
    assert {"cluster=ray", "cluster.nodes=4", "cluster.gpus=6", "cluster.cores=48"} <= set(words)
    assert spec["backoffLimit"] == 4
    head, workers = (
        spec["rayClusterSpec"]["headGroupSpec"],
        spec["rayClusterSpec"]["workerGroupSpecs"][0],
    )
    assert head["rayStartParams"]["num-cpus"] == "4"
    assert workers["replicas"] == 3
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "16", "memory": "64500M", "nvidia.com/gpu": "2"}


def test_the_wheel_is_given_to_ray() -> None:
    env = manifest(wheel="/runs/mien.whl")["spec"]["runtimeEnvYAML"]
    assert yaml.safe_load(env) == {"py_modules": ["file:///runs/mien.whl"]}
    assert "runtimeEnvYAML" not in manifest()["spec"]


def test_a_run_in_a_pods_own_folder_is_refused() -> None:
    mounts = [{"name": "runs", "mountPath": "/runs"}]
    assert manifest("/runs/one", mounts=mounts)["metadata"]["generateName"] == "mien-one-"
    for out in ("/home/me/run", "/runs-of-mine/one"):
        with pytest.raises(
            ValueError, match=r"`out` must be a URL, or lie on .* \(/runs\), but is"
        ):
            manifest(out, mounts=mounts)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"nodes": 0}, r"`cluster.nodes` must be at least 1, but is 0"),
        ({"attempts": 0}, r"`cluster.attempts` must be at least 1, but is 0"),
        ({"head_memory_gb": 1.0}, r"`cluster.head_memory_gb` must be greater than .* \(2\)"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KubeRay(image="mien:1", **parameters)
