"""The files of cluster/ are valid, have the project's versions, and are safe.

No Kubernetes, cloud or Docker engine runs here. The tests use Kubernetes' schema, a schema of the
fields of KubeRay, the validator of Ray's launcher, hadolint and shellcheck. Each validator must
also refuse a wrong file.
"""

import copy
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.util import prepare_config, validate_config

from conftest import ROOT

CLUSTER = ROOT / "cluster"
KUBERNETES = "1.34"
KUBERAY = json.loads((ROOT / "tests" / "kuberay.schema.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = {path: path.read_text() for path in CLUSTER.iterdir() if path.is_file()}
DOCKERFILE = TEXTS[CLUSTER / "Dockerfile"]

on_kubernetes = pytest.mark.parametrize("name", ["rayjob", "raycluster"])
by_launcher = pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
in_clouds = pytest.mark.parametrize("name", ["aws", "gcp"])


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((CLUSTER / f"{name}.yaml").read_text()))


def cluster_spec(document: Any) -> Any:
    spec = document["spec"]
    return spec.get("rayClusterSpec", spec)


def pod_templates(document: Any) -> dict[str, Any]:
    """Return {purpose: pod template} of a RayJob or RayCluster.

    The autoscaler is the container that KubeRay makes from its options and adds to the head's pod.
    """
    cluster = cluster_spec(document)
    head = cluster["headGroupSpec"]["template"]
    names = ("resources", "securityContext", "env", "volumeMounts")
    options = {k: v for k, v in cluster["autoscalerOptions"].items() if k in names}
    autoscaler = {"spec": {**head["spec"], "containers": [{"name": "autoscaler", **options}]}}
    found = {"head": head, "autoscaler": {**head, **autoscaler}}
    found |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    if "submitterPodTemplate" in document["spec"]:
        found["submitter"] = document["spec"]["submitterPodTemplate"]
    return found


def containers(name: str) -> Iterator[tuple[str, Any]]:
    for purpose, template in pod_templates(documents(name)[0]).items():
        for container in template["spec"]["containers"]:
            yield purpose, container


def launched(name: str) -> Any:
    """Return a launcher file with the launcher's defaults, as Ray uses it."""
    return prepare_config(documents(name)[0])


def pins(path: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(package): pinned for package, pinned in pairs}


PINS = pins(ROOT / "constraints.txt")
IMAGE = f"registry.example/ffnet:{PROJECT['version']}-ray{PINS['ray']}"


def validate_kubernetes(found: list[Any]) -> None:
    jsonschema.validate(found[0], KUBERAY)
    for template in pod_templates(found[0]).values():
        validate_core({"apiVersion": "v1", "kind": "PodTemplate", "template": template})
    for document in found[1:]:
        validate_core(document)


def validate_core(document: Any) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a linter that comes with a Python package."""
    command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def changed(document: Any, path: str, value: object) -> Any:
    """Return a copy with another value at a path like `0/spec/name`."""
    made = copy.deepcopy(document)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split("/")]
    place = made
    for key in parents:
        place = place[key]
    place[last] = value
    return made


# The files are valid, and wrong files are refused.


@on_kubernetes
def test_kubernetes_files_are_valid(name: str) -> None:
    validate_kubernetes(documents(name))


HEAD = "0/spec/rayClusterSpec/headGroupSpec"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("0/spec/retries", 3, "'retries' was unexpected"),
        ("0/spec/shutdownAfterJobFinishes", False, "True was expected"),
        ("0/spec/rayClusterSpec/authOptions/mode", "none", "'none' is not one of"),
        (f"{HEAD}/rayStartParams/num-cpus", 0, "0 is not of type 'string'"),
        (f"{HEAD}/template/spec/containers/0/resource", {}, "'resource' was unexpected"),
        (f"{HEAD}/template/spec/securityContext/runAsUser", "ray", "'ray' is not of type"),
        ("0/spec/rayClusterSpec/autoscalerOptions/volumeMounts/0/path", "/", "'path' was unexp"),
        ("0/spec/submitterPodTemplate/spec/restart", "Never", "'restart' was unexpected"),
        ("1/automount", False, "'automount' was unexpected"),
        ("2/spec/ingress/0/from/0/pods", {}, "'pods' was unexpected"),
    ],
)
def test_wrong_kubernetes_file_is_refused(path: str, value: object, words: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=re.escape(words)):
        validate_kubernetes(changed(documents("rayjob"), path, value))


@by_launcher
def test_launcher_files_are_valid(name: str) -> None:
    validate_config(launched(name))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("idle_timeout", 5, "'idle_timeout' was unexpected"),
        ("head_node_type", "boss", "`head_node_type` must be one of"),
        ("available_node_types/head/resources/CPU", "0", "'0' is not of type 'integer'"),
        ("docker/privileged", True, "'privileged' was unexpected"),
        ("auth/ssh_proxy_command", 1, "1 is not of type 'string'"),
    ],
)
@in_clouds
def test_wrong_launcher_file_is_refused(name: str, path: str, value: object, words: str) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError), match=re.escape(words)):
        validate_config(changed(launched(name), path, value))


def test_dockerfile_passes_hadolint_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    found = tool("hadolint", CLUSTER / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.replace("FROM ${BASE}", "FROM python"))
    assert "DL3006" in tool("hadolint", wrong).stdout


def test_shell_scripts_pass_shellcheck_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    scripts = [path for path, text in TEXTS.items() if text.startswith("#!")]
    found = tool("shellcheck", ROOT / ".ci" / "run", *scripts)
    assert (found.returncode, found.stdout) == (0, "")
    wrong = tmp_path / "wrong.sh"
    wrong.write_text("#!/bin/sh\nrm -rf $1/*\n")
    assert "SC2086" in tool("shellcheck", wrong).stdout


def test_dockerfile_copies_what_there_is_and_what_its_context_has() -> None:
    copied = set(" ".join(re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M)).split())
    assert all((ROOT / path).exists() for path in copied)
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


# The files have the project's versions.


def test_pins_are_what_the_project_asks_for() -> None:
    for asked in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(Requirement, asked):
            assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_pins_of_the_image_agree_with_the_project_and_cover_cuda() -> None:
    image = pins(CLUSTER / "constraints.txt")
    assert [f"{p}: {PINS[p]}, {image[p]}" for p in image if PINS.get(p, image[p]) != image[p]] == []
    for requirement in map(Requirement, importlib.metadata.requires("tensorflow") or []):
        if requirement.marker and requirement.marker.evaluate({"extra": "and-cuda"}):
            assert requirement.specifier.contains(image[canonicalize_name(requirement.name)])


@on_kubernetes
def test_ray_version_is_the_pinned_one(name: str) -> None:
    assert cluster_spec(documents(name)[0])["rayVersion"] == PINS["ray"]


def test_every_image_has_the_tag_of_project_and_ray() -> None:
    text = "\n".join(TEXTS.values())
    images = set(re.findall(r"[\w./-]+/ffnet:[\w.-]*\w", text))
    assert images == {IMAGE, f"{IMAGE}-gpu"}


def test_image_has_the_python_that_the_project_asks_for() -> None:
    (base,) = re.findall(r"^ARG BASE=python:([\d.]+)-slim", DOCKERFILE, re.M)
    assert PROJECT["requires-python"] == f">={base}"


def test_lasting_cluster_is_the_jobs_cluster() -> None:
    job = json.loads(json.dumps(documents("rayjob")).replace("ffnet-tune", "ffnet"))
    job[0] = cluster_spec(job[0])
    cluster = documents("raycluster")
    assert job == [cluster_spec(cluster[0]), *cluster[1:]]


# The files are safe on Kubernetes.


@on_kubernetes
def test_pods_run_without_root_and_privileges(name: str) -> None:
    for template in pod_templates(documents(name)[0]).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(volume.keys() <= {"name", "emptyDir", "projected"} for volume in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }


@on_kubernetes
def test_only_the_autoscaler_has_a_token_of_kubernetes(name: str) -> None:
    for purpose, container in containers(name):
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {"tmp", "home"} | ({"kubernetes"} if purpose == "autoscaler" else set())
    for purpose, template in pod_templates(documents(name)[0]).items():
        assert template["spec"]["automountServiceAccountToken"] is False
        if purpose not in {"head", "autoscaler"}:  # these use KubeRay's account, which has rights
            assert template["spec"]["serviceAccountName"] == documents(name)[1]["metadata"]["name"]
    assert documents(name)[1]["metadata"]["name"] != documents(name)[0]["metadata"]["name"]


@on_kubernetes
def test_every_container_has_limits_and_is_given_them(name: str) -> None:
    for _, container in containers(name):
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        assert container["resources"]["requests"] == container["resources"]["limits"]


@on_kubernetes
def test_secrets_are_references(name: str) -> None:
    assert "Secret" not in [document["kind"] for document in documents(name)]
    variables = [v for _, container in containers(name) for v in container.get("env", [])]
    assert {v["name"] for v in variables} >= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for variable in variables:
        assert variable["valueFrom"]["secretKeyRef"]["name"] == "ffnet-storage"


@on_kubernetes
def test_cluster_has_a_token_and_a_head_without_trials(name: str) -> None:
    cluster = cluster_spec(documents(name)[0])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


@on_kubernetes
def test_worker_groups_start_at_none_and_may_run_on_spot_nodes(name: str) -> None:
    cluster = cluster_spec(documents(name)[0])
    assert cluster["enableInTreeAutoscaling"] is True
    gpus = []
    for group in cluster["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        assert "cloud.google.com/gke-spot" in [t["key"] for t in spec["tolerations"]]
        assert spec["terminationGracePeriodSeconds"] <= 25
        gpus.append(spec["containers"][0]["resources"]["limits"].get("nvidia.com/gpu"))
    assert gpus == [None, "1"]


@on_kubernetes
def test_network_policy_lets_in_the_clusters_pods_and_the_operator_only(name: str) -> None:
    policy = documents(name)[2]["spec"]
    own = policy["podSelector"]
    for template in pod_templates(documents(name)[0]).values():
        assert template["metadata"]["labels"] == own["matchLabels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    pods, operator = policy["ingress"]
    assert pods == {"from": [{"podSelector": own}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert operator["from"][0].keys() == {"namespaceSelector", "podSelector"}
    peers = [peer for rule in policy["egress"] for peer in rule["to"]]
    (block,) = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
    assert block["except"] == [
        "169.254.0.0/16"
    ]  # the cloud's metadata server has the node's credentials


def test_job_ends_its_cluster_and_does_not_try_for_ever() -> None:
    spec = documents("rayjob")[0]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] <= 3
    assert spec["activeDeadlineSeconds"] <= 7 * 86400


# The files are safe with Ray's launcher.


def options(name: str) -> list[str]:
    """Return all options of `docker run` that a launcher file gives to any node."""
    config = launched(name)
    places = [config, *config["available_node_types"].values()]
    given = [entry for place in places for entry in place.get("docker", {}).items()]
    return [option for key, value in given if key.endswith("run_options") for option in value]


@by_launcher
def test_head_runs_no_trials_and_shows_its_dashboard_to_itself_only(name: str) -> None:
    config = launched(name)
    (start,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    assert {"--num-cpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())
    assert "0.0.0.0" not in json.dumps(config)


@by_launcher
def test_nothing_is_installed_at_run_time(name: str) -> None:
    config = launched(name)
    for key in ("initialization", "setup", "head_setup", "worker_setup"):
        assert config[f"{key}_commands"] == []


@by_launcher
def test_containers_have_a_token_and_no_privileges(name: str) -> None:
    given = options(name)
    assert {
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--env=RAY_AUTH_MODE=token",
        "--env=RAY_AUTH_TOKEN_PATH=/home/ray/.ffnet/token",
    } <= set(given)
    assert not [o for o in given if "privileged" in o or "cap-add" in o or "docker.sock" in o]
    assert launched(name)["file_mounts"] == {"~/.ffnet": f"~/.ffnet/{name}"}
    env = {o.split("=")[1] for o in given if o.startswith(("--env", "-e"))}
    assert env <= {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "NVIDIA_VISIBLE_DEVICES"}  # no secrets


@in_clouds
def test_workers_in_clouds_are_spot_with_and_without_gpu_and_end_when_idle(name: str) -> None:
    config = launched(name)
    head = config["available_node_types"].pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert not {"InstanceMarketOptions", "scheduling"} & head["node_config"].keys()
    for worker in config["available_node_types"].values():
        node = worker["node_config"]
        aws = node.get("InstanceMarketOptions") == {"MarketType": "spot"}
        assert aws or node["scheduling"]["provisioningModel"] == "SPOT"
        assert worker["min_workers"] == 0 < worker["max_workers"]
    gpus = [worker["resources"].get("GPU") for worker in config["available_node_types"].values()]
    assert gpus == [None, 1]
    assert config["idle_timeout_minutes"] <= 5
    assert not config["provider"].get("cache_stopped_nodes")


@in_clouds
def test_clouds_are_entered_by_a_tunnel_only(name: str) -> None:
    config = launched(name)
    assert config["provider"]["use_internal_ips"] is True
    assert config["auth"]["ssh_proxy_use_node_id"] is True
    assert "security_group" not in config["provider"]
    for node in (kind["node_config"] for kind in config["available_node_types"].values()):
        if name == "aws":  # without these the launcher makes a group that opens SSH to the world
            assert node["SecurityGroupIds"] == ["SECURITY_GROUP_ID"]
            assert node["MetadataOptions"] == {"HttpTokens": "required"}
        else:
            assert [sorted(network) for network in node["networkInterfaces"]] == [["subnetwork"]]


def test_image_runs_as_a_user_and_asks_for_a_token() -> None:
    assert re.findall(r"^USER (.+)", DOCKERFILE, re.M) == ["${UID}"]
    assert re.findall(r"^ARG UID=(.+)", DOCKERFILE, re.M) == ["1000"]
    assert re.search(r"^\s*RAY_AUTH_MODE=token\b", DOCKERFILE, re.M)
