"""`split.yaml` is what the sources render to."""

import copy
import json
import re
import shutil
import subprocess

import kubernetes_validate as kubernetes
import pytest
import yaml
from rules import RULES, named, pod_of

from project import KUBERNETES, README, RENDERED, VERSIONS, documents, version


def kubectl_is_there():
    if not shutil.which("kubectl"):
        return False
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True)
    if told.returncode != 0:
        return False
    version = json.loads(told.stdout)["clientVersion"]
    major, minor = (int(re.match(r"\d+", version[part])[0]) for part in ("major", "minor"))
    return (major, minor) >= (1, 27)


needs_kubectl = pytest.mark.skipif(not kubectl_is_there(), reason="there is no kubectl of 1.27 or newer")


def render(folder):
    run = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def sources(folder):
    """The objects as they are written, without what kustomize does to them."""
    for entry in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = folder / entry
        yield from sources(path) if path.is_dir() else documents(path)


def says(rendered, source):
    """Whether all of `source` is in `rendered`, where images have a tag beside their name and objects a namespace."""
    if isinstance(source, dict):
        return isinstance(rendered, dict) and all(
            says(rendered.get(key), value)
            or key == "image" and str(rendered.get(key)).startswith(value + ":")
            for key, value in source.items()
        )
    if isinstance(source, list):
        return isinstance(rendered, list) and len(rendered) == len(source) and all(map(says, rendered, source))
    return type(rendered) is type(source) and rendered == source


def missing(objects):
    """Sources that the render lacks or says otherwise."""
    written = list(sources(KUBERNETES / "split"))
    assert len(written) == len(objects)
    for item in written:
        counterpart = named(objects, item["kind"], item["metadata"]["name"])
        if not says(counterpart, item):
            yield f"{item['kind']} {item['metadata']['name']}"


def test_the_render_says_what_the_sources_say(rendered):
    assert list(missing(rendered)) == []


def test_a_stale_render_is_noticed(rendered):
    breakages = [
        lambda item: pod_of(item).update(terminationGracePeriodSeconds=60),
        lambda item: pod_of(item)["containers"][0]["args"].pop(),
        lambda item: pod_of(item)["containers"][0]["env"][0].update(name="NAME"),
    ]
    for breaks in breakages:
        stale = copy.deepcopy(rendered)
        breaks(named(stale, "Deployment", "infergate-gateway"))
        assert list(missing(stale)) == ["Deployment infergate-gateway"]


def test_every_object_is_in_the_namespace_that_comes_first(rendered):
    assert rendered[0]["kind"] == "Namespace"
    name = rendered[0]["metadata"]["name"]
    assert {item["metadata"]["namespace"] for item in rendered[1:]} == {name}


@needs_kubectl
def test_the_render_is_what_kubectl_makes_of_the_sources():
    assert render(KUBERNETES / "split") == RENDERED.read_text(), "write it anew with `make manifests`"


@needs_kubectl
def test_the_overlay_of_the_readme_renders(tmp_path):
    shutil.copytree(KUBERNETES, tmp_path / "infergate/deploy/kubernetes")
    overlay = re.search(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)[1]
    (tmp_path / "kustomization.yaml").write_text(overlay)
    objects = list(yaml.safe_load_all(render(tmp_path)))
    for item in objects:
        kubernetes.validate(item, VERSIONS[-1], strict=True)
    assert [list(rule(objects)) for rule in RULES] == [[] for _ in RULES]
    assert named(objects, "PersistentVolumeClaim", "infergate-models")["spec"]["volumeName"] == "models"
    for role in ("gateway", "worker"):
        container = pod_of(named(objects, "Deployment", f"infergate-{role}"))["containers"][0]
        assert container["image"] == f"registry.example.com/infergate-{role}:{version()}"
        assert ("--zone=$(ZONE)" in container["args"]) is (role == "gateway")
