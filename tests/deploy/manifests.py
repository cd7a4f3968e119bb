"""The manifests of `deploy/kubernetes`, as kustomize puts them together: as much of it as these use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE = KUBERNETES / "kustomization.yaml"
KEDA = KUBERNETES / "keda" / "kustomization.yaml"

Manifest = dict[str, Any]

BY_NAME = ("containers", "initContainers", "volumes")
"""Lists that a patch adds to, by the name of each element."""


def read(path: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def kustomization(path: Path) -> Manifest:
    (found,) = read(path)
    return found


def manifests(path: Path) -> list[Manifest]:
    """Those of a kustomization and of what it takes in, patched."""
    it = kustomization(path)
    found: list[Manifest] = []
    for name in it["resources"]:
        resource = (path.parent / name).resolve()
        found += manifests(resource / path.name) if resource.is_dir() else read(resource)
    for patch in it.get("patches", []):
        for change in read(path.parent / patch["path"]):
            (target,) = [one for one in found if key(one) == key(change)]
            merge(target, change)
    return found


def key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def merge(target: Any, change: Any) -> None:
    for name, value in change.items():
        if name in BY_NAME and name in target:
            target[name] = [*target[name], *copy.deepcopy(value)]
            assert len({one["name"] for one in target[name]}) == len(target[name]), f"{name}: two of one name"
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = copy.deepcopy(value)


def pod_templates(path: Path) -> Iterator[tuple[Manifest, Manifest]]:
    """Whatever makes pods, with the pods' own part."""
    for one in manifests(path):
        if one["kind"] in ("StatefulSet", "Deployment"):
            yield one, one["spec"]["template"]


def generated(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(kind, name) → key → file, of the ConfigMaps and Secrets that are made of files."""
    it = kustomization(path)
    found: dict[tuple[str, str], dict[str, str]] = {}
    for kind, entries in (("configMap", "configMapGenerator"), ("secret", "secretGenerator")):
        for entry in it.get(entries, []):
            pairs = [file.partition("=") for file in entry["files"]]
            files = {name if file else Path(name).name: str(path.parent / (file or name)) for name, _, file in pairs}
            found[kind, entry["name"]] = files
    for name in it["resources"]:
        if (path.parent / name).is_dir():
            found |= generated((path.parent / name).resolve() / path.name)
    return found
