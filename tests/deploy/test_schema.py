"""The manifests against Kubernetes' own schemas, where a key that does not exist is a mistake."""

import kubernetes_validate as kubernetes
import pytest
from rules import named, pod_of

from project import VERSIONS


def complaint(item, version):
    try:
        kubernetes.validate(item, version, strict=True)
    except kubernetes.ValidationError as error:
        return error.message
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_that_kubernetes_knows(version, rendered):
    assert {item["metadata"]["name"]: complaint(item, version) for item in rendered} == {
        item["metadata"]["name"]: None for item in rendered
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "breaks",
    [
        lambda it: it["spec"].update(replica=2),
        lambda it: it["spec"].update(replicas="two"),
        lambda it: it["spec"].pop("selector"),
        lambda it: pod_of(it).update(terminationGracePeriodSecond=35),
        lambda it: pod_of(it)["containers"][0]["readinessProbe"]["grpc"].update(port="grpc"),
        lambda it: pod_of(it)["containers"][0]["securityContext"].update(readOnlyRootFileSystem=True),
        lambda it: pod_of(it)["topologySpreadConstraints"][0].update(whenUnsatisfied="ScheduleAnyway"),
    ],
    ids=["unknown key", "type", "missing", "misspelt", "port's name", "case", "deep"],
)
def test_a_mistake_is_noticed(version, breaks, copied):
    deployment = named(copied, "Deployment", "infergate-worker")
    breaks(deployment)
    assert complaint(deployment, version)


def test_an_object_of_no_known_kind_is_noticed():
    with pytest.raises(kubernetes.utils.SchemaNotFoundError):
        kubernetes.validate({"apiVersion": "apps/v1", "kind": "Deploiment"}, VERSIONS[-1], strict=True)
