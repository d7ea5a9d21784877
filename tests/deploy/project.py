"""Where things are, and what is deployed as data."""

import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "deploy/Dockerfile"
README = PROJECT / "deploy/README.md"
KUBERNETES = PROJECT / "deploy/kubernetes"
RENDERED = KUBERNETES / "split.yaml"
MONITORING = PROJECT / "deploy/monitoring"

# The oldest Kubernetes that knows all that the manifests use, and the newest that was tried.
VERSIONS = ["1.27", "1.37"]


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def version():
    return tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]


def settings():
    """Every key with its default, by the name of its variable; those without a default too."""
    found, table = {}, ""
    for line in (PROJECT / "infergate.example.toml").read_text().splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif "=" in line and not line.startswith("# "):
            key, _, value = line.lstrip("#").partition("=")
            name = "INFERGATE_" + (table + key.strip()).replace(".", "_").upper()
            found[name] = value.strip().strip('"')
    return found


def seconds(duration):
    for unit, factor in [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]:
        if duration.endswith(unit):
            return float(duration.removesuffix(unit)) * factor
    raise ValueError(f"{duration} is no duration")


def size(text):
    """Bytes, as our settings or as Kubernetes write them."""
    for unit, factor in [("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30), ("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30)]:
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    return int(text)
