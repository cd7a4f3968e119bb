"""`deploy/kubernetes`: each manifest is as its API's schema says, and what they name of one another is there."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
from manifests import BASE, KEDA, KUBERNETES, Manifest, generated, key, kustomization, manifests, pod_templates

from maitred.broker.web.openapi import document
from maitred.config import Config, load

SCHEMAS = json.loads(Path(__file__).with_name("keda.json").read_text())
VERSIONS = ("1.30", "1.34")
ALL = manifests(KEDA)


def validate(manifest: Manifest, version: str) -> None:
    if manifest["apiVersion"].startswith("keda.sh/"):
        jsonschema.Draft202012Validator(SCHEMAS[manifest["kind"]]).validate(manifest)
        if manifest["kind"] == "ScaledObject":
            validate(scaler_of(manifest), version)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def scaler_of(scaled: Manifest) -> Manifest:
    """What KEDA makes of it, without the metrics: its `behavior` is taken as it is."""
    spec = scaled["spec"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment"} | spec["scaleTargetRef"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    bounds = {"minReplicas": spec["minReplicaCount"], "maxReplicas": spec["maxReplicaCount"]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {"scaleTargetRef": target, "behavior": behavior} | bounds,
    }


def one(kind: str, name: str) -> Manifest:
    (found,) = [manifest for manifest in ALL if key(manifest) == (kind, name)]
    return found


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(s|min)", text)
    assert found, text
    return float(found[1]) * {"s": 1, "min": 60}[found[2]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL, ids=lambda manifest: " ".join(key(manifest)))
def test_a_manifest_is_as_its_api_says(manifest: Manifest, version: str) -> None:
    validate(manifest, version)


@pytest.mark.parametrize("kind", ["StatefulSet", "ScaledObject", "TriggerAuthentication", "Role"])
def test_the_schemas_refuse_what_they_do_not_know(kind: str) -> None:
    manifest = copy.deepcopy(next(manifest for manifest in ALL if manifest["kind"] == kind))
    (manifest["rules"][0] if kind == "Role" else manifest["spec"])["replica"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest, VERSIONS[-1])


def test_a_behaviour_that_no_scaler_knows_is_refused() -> None:
    manifest = copy.deepcopy(one("ScaledObject", "maitred-general"))
    manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"] = {"select": "Disabled"}
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest, VERSIONS[-1])


def test_every_file_is_used_and_every_file_that_is_named_is_there() -> None:
    named = {KUBERNETES / "kustomization.yaml", KEDA}
    for path in (BASE, KEDA):
        it = kustomization(path)
        named |= {path.parent / name for name in it["resources"] if name != ".."}
        named |= {path.parent / patch["path"] for patch in it.get("patches", [])}
    made = {Path(file) for files in generated(KEDA).values() for file in files.values()}
    assert all(path.parent.name == "keys" or path.exists() for path in made)  # keys are made by their user
    assert {path for path in KUBERNETES.rglob("*") if path.is_file() and "__pycache__" not in path.parts} == {
        *named,
        *(path for path in made if path.parent.name != "keys"),
    }


def test_what_pods_mount_is_made_and_what_they_name_of_it_is_in_it() -> None:
    known = generated(KEDA) | {("configMap", "kube-root-ca.crt"): {"ca.crt": ""}}
    for owner, template in pod_templates(KEDA):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for container in containers(template):
            for mount in container["volumeMounts"]:
                assert mount["name"] in volumes, f"{owner['metadata']['name']}: no volume {mount['name']}"
        for volume in volumes.values():
            names = {
                ("configMap", volume.get("configMap", {}).get("name")),
                ("secret", volume.get("secret", {}).get("secretName")),
            }
            assert {(kind, name) for kind, name in names if name} <= known.keys(), volume
    for used in one("TriggerAuthentication", "maitred-http")["spec"]["secretTargetRef"]:
        assert used["key"] in known["secret", used["name"]]


def files_of(template: Manifest, container: Manifest) -> dict[str, str]:
    """path in the container → name of the file it is made of; those that the init container copies included."""
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    known, found = generated(KEDA), {}
    for each in (*template["spec"]["initContainers"], container):
        for mount in each["volumeMounts"]:
            volume = volumes[mount["name"]]
            made = known.get(("configMap", volume.get("configMap", {}).get("name"))) or known.get(
                ("secret", volume.get("secret", {}).get("secretName"))
            )
            where = "/run/maitred/keys" if each is not container else mount["mountPath"]
            found |= {f"{where}/{name}": file for name, file in (made or {}).items()}
    return found


def broker_config() -> Config:
    return load(KUBERNETES / "broker.toml", environ={})


def test_the_broker_is_started_with_files_that_it_finds() -> None:
    template = one("StatefulSet", "maitred")["spec"]["template"]
    container = template["spec"]["containers"][0]
    files, config = files_of(template, container), broker_config()
    for path in (config.broker.key_file, config.broker.authorized_file, config.broker.http_token_file):
        assert str(path) in files
    assert container["args"][1] in files
    assert not config.broker.insecure


def test_the_commands_are_those_that_there_are() -> None:
    broker = one("StatefulSet", "maitred")["spec"]["template"]["spec"]["containers"][0]
    pool = one("Deployment", "maitred-general")["spec"]["template"]["spec"]["containers"][0]
    hook = broker["lifecycle"]["preStop"]["exec"]["command"][-1].rpartition("exec maitred ")[2].split()
    for words in (broker["args"], pool["args"], hook):
        told = [str(KUBERNETES / "pool.toml") if word.startswith("/etc/") else word for word in words]
        done = subprocess.run([sys.executable, "-m", "maitred.cli", *told, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_pool_is_known_to_the_broker_and_has_one_worker_in_a_pod() -> None:
    here, there = load(KUBERNETES / "pool.toml", environ={}), broker_config()
    assert set(here.pools) == set(there.pools) == {"general"}
    assert (here.pools["general"].size.min, here.pools["general"].size.max) == (1, 1)
    assert there.pools["general"].adapter is None


def test_ports_and_addresses_are_the_brokers() -> None:
    config = broker_config().broker
    ports = {"clients": config.clients, "workers": config.workers, "http": config.http}
    numbers = {name: int(address.rpartition(":")[2]) for name, address in ports.items()}
    container = one("StatefulSet", "maitred")["spec"]["template"]["spec"]["containers"][0]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == numbers
    args = one("Deployment", "maitred-general")["spec"]["template"]["spec"]["containers"][0]["args"]
    url = one("ScaledObject", "maitred-general")["spec"]["triggers"][0]["metadata"]["url"]
    asked = [args[args.index("--connect") + 1], args[args.index("--clients") + 1], url]
    for address, name in zip(asked, ("workers", "clients", "http"), strict=True):
        split = urlsplit(address)
        service = one("Service", split.hostname.partition(".")[0])
        assert {"name": name, "port": split.port, "targetPort": name} in service["spec"]["ports"]
        assert split.port == numbers[name]
    assert re.sub("general", "{pool}", urlsplit(url).path) in document()["paths"]
    # else the first worker would wait for a broker that waits for its first worker
    assert one("Service", "maitred-broker")["spec"]["publishNotReadyAddresses"] is True
    assert one("StatefulSet", "maitred")["spec"]["serviceName"] == "maitred-broker"


def test_selectors_find_the_pods_that_they_are_for() -> None:
    labels = [template["metadata"]["labels"] for _, template in pod_templates(KEDA)]
    for manifest in ALL:
        selector: dict[str, Any] | None = manifest.get("spec", {}).get("selector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector).items()
            assert sum(wanted <= each.items() for each in labels) == 1, key(manifest)


def test_whoever_is_ended_has_the_time_that_he_needs() -> None:
    pod = one("StatefulSet", "maitred")["spec"]["template"]["spec"]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    pause_s = float(re.findall(r"sleep (\d+);", hook)[0])
    drain_s = seconds(hook.rpartition("--timeout ")[2])
    config = broker_config().broker
    assert (
        pod["terminationGracePeriodSeconds"] >= pause_s + drain_s + config.drain_delay_s + config.drain_timeout_s + 10
    )
    probe = pod["containers"][0]["readinessProbe"]
    assert pause_s >= probe["periodSeconds"] * probe["failureThreshold"]
    workers = load(KUBERNETES / "pool.toml", environ={}).pools["general"]
    pod = one("Deployment", "maitred-general")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= workers.drain_timeout_s + 10


def test_probes_ask_for_what_is_answered_without_a_token() -> None:
    container = one("StatefulSet", "maitred")["spec"]["template"]["spec"]["containers"][0]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_nobody_is_root_and_nobody_has_more_memory_than_its_pod() -> None:
    for _, template in pod_templates(KEDA):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert (broker_config().broker.memory_limit_bytes or 0) < 2**30
    assert (load(KUBERNETES / "pool.toml", environ={}).pools["general"].memory_limit_bytes or 0) < 2**30
