"""The manifests keep the rules, and every rule notices when it is broken."""

import pytest
from rules import RULES, images_are_of_one_version, named, pod_of, ports_of

from project import version


def gateway(objects):
    return named(objects, "Deployment", "infergate-gateway")


def worker(objects):
    return named(objects, "Deployment", "infergate-worker")


def first(deployment):
    return pod_of(deployment)["containers"][0]


def variable(deployment, name):
    return next(item for item in first(deployment)["env"] if item["name"] == name)


def argument(deployment, old, new):
    args = first(deployment)["args"]
    changed = [item.replace(old, new) for item in args]
    assert changed != args
    first(deployment)["args"] = changed


def without(objects, kind, name):
    objects.remove(named(objects, kind, name))


def role(objects):
    return named(objects, "Role", "infergate-discovery")["rules"][0]


def service(objects):
    return named(objects, "Service", "infergate-worker")["spec"]


def policy(objects):
    return named(objects, "NetworkPolicy", "infergate-worker")["spec"]


# What breaks a rule, by the rule's name.
BREAKAGES = {
    "every_selector_means_one_deployment": [
        lambda it: service(it)["selector"].update({"app.kubernetes.io/component": "workers"}),
        lambda it: worker(it)["spec"]["template"]["metadata"]["labels"].pop("app.kubernetes.io/component"),
        lambda it: pod_of(worker(it))["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(
            {"app.kubernetes.io/component": "gateway"}
        ),
        lambda it: policy(it)["ingress"][0]["from"][0]["podSelector"]["matchLabels"].clear(),
    ],
    "every_deployment_has_a_service_a_budget_and_a_policy": [
        lambda it: without(it, "PodDisruptionBudget", "infergate-worker"),
        lambda it: without(it, "NetworkPolicy", "infergate-gateway"),
    ],
    "services_name_ports_that_exist": [
        lambda it: service(it)["ports"][0].update(targetPort="http"),
        lambda it: service(it)["ports"][0].update(port=80),
        lambda it: service(it)["ports"][0].pop("appProtocol"),
    ],
    "listeners_are_the_ports_that_are_declared": [
        lambda it: argument(gateway(it), "0.0.0.0:8001", "127.0.0.1:8001"),
        lambda it: argument(worker(it), "--admin=0.0.0.0:8002", "--admin=0.0.0.0:8003"),
    ],
    "probes_ask_the_right_port": [
        lambda it: first(worker(it))["readinessProbe"]["grpc"].update(port=8002),
        lambda it: first(worker(it))["readinessProbe"]["grpc"].update(service="inference.GRPCInferenceService"),
        lambda it: first(gateway(it)).pop("readinessProbe"),
        lambda it: first(gateway(it)).update(livenessProbe=first(gateway(it))["readinessProbe"]),
        lambda it: first(gateway(it))["livenessProbe"]["httpGet"].update(path="/readyz"),
        lambda it: first(gateway(it))["livenessProbe"].update(failureThreshold=1),
    ],
    "gateways_look_for_a_service_that_exists": [
        lambda it: argument(gateway(it), "infergate-worker:", "infergate-workers:"),
        lambda it: argument(gateway(it), ":grpc", ":http"),
        lambda it: argument(gateway(it), "$(NAMESPACE)", "default"),
        lambda it: service(it).pop("clusterIP"),
    ],
    "arguments_use_variables_that_are_set": [
        lambda it: first(gateway(it))["env"].remove(variable(gateway(it), "NAMESPACE")),
    ],
    "only_gateways_may_read_endpoint_slices_and_nothing_else": [
        lambda it: role(it)["resources"].append("endpoints"),
        lambda it: role(it)["verbs"].append("update"),
        lambda it: role(it)["verbs"].remove("watch"),
        lambda it: named(it, "RoleBinding", "infergate-discovery")["subjects"][0].update(name="infergate-worker"),
        lambda it: without(it, "RoleBinding", "infergate-discovery"),
    ],
    "only_gateways_have_a_token": [
        lambda it: pod_of(worker(it)).pop("automountServiceAccountToken"),
        lambda it: pod_of(gateway(it)).update(automountServiceAccountToken=False),
        lambda it: pod_of(worker(it)).update(serviceAccountName="default"),
    ],
    "updates_take_nothing_away_first": [
        lambda it: worker(it)["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        lambda it: worker(it)["spec"].pop("strategy"),
        lambda it: gateway(it)["spec"].pop("minReadySeconds"),
        lambda it: named(it, "PodDisruptionBudget", "infergate-worker")["spec"].update(maxUnavailable=0),
    ],
    "pods_are_given_the_time_to_drain": [
        lambda it: pod_of(worker(it)).update(terminationGracePeriodSeconds=25),
        lambda it: pod_of(worker(it)).pop("terminationGracePeriodSeconds"),
        lambda it: first(gateway(it))["env"].append({"name": "INFERGATE_DRAIN_GRACE", "value": "1m"}),
    ],
    "variables_are_keys_that_exist": [
        lambda it: variable(gateway(it), "INFERGATE_LOG_FORMAT").update(name="INFERGATE_LOG_FROMAT"),
        lambda it: pod_of(gateway(it)).pop("enableServiceLinks"),
    ],
    "containers_may_do_nothing": [
        lambda it: pod_of(gateway(it))["securityContext"].pop("runAsNonRoot"),
        lambda it: pod_of(gateway(it))["securityContext"].update(runAsUser=0),
        lambda it: pod_of(gateway(it))["securityContext"].pop("seccompProfile"),
        lambda it: first(worker(it))["securityContext"].update(readOnlyRootFilesystem=False),
        lambda it: first(worker(it))["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        lambda it: pod_of(worker(it)).update(hostNetwork=True),
    ],
    "volumes_are_read_only_or_bounded": [
        lambda it: pod_of(gateway(it))["volumes"][0].update(emptyDir={}),
        lambda it: first(worker(it))["volumeMounts"][0].pop("readOnly"),
        lambda it: without(it, "PersistentVolumeClaim", "infergate-models"),
        lambda it: first(worker(it))["volumeMounts"].clear(),
    ],
    "what_is_written_lies_in_a_volume": [
        lambda it: variable(gateway(it), "INFERGATE_DISCOVERY_STATE_FILE").update(value="/tmp/endpoints.json"),
    ],
    "memory_is_reserved_and_enough": [
        lambda it: first(worker(it))["resources"].pop("limits"),
        lambda it: first(worker(it))["resources"]["requests"].update(memory="1Gi"),
        lambda it: first(gateway(it))["env"].remove(variable(gateway(it), "INFERGATE_LIMITS_MESSAGE_BYTES")),
    ],
    "traffic_is_denied_unless_allowed": [
        lambda it: without(it, "NetworkPolicy", "deny-all"),
        lambda it: policy(it).update(egress=[{}]),
        lambda it: policy(it).update(policyTypes=["Ingress"]),
        lambda it: policy(it)["ingress"][0].pop("from"),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_manifests_keep(rule, rendered):
    assert list(rule(rendered)) == []


@pytest.mark.parametrize(
    "rule, breaks",
    [(rule, breaks) for rule in RULES for breaks in BREAKAGES[rule.__name__]],
    ids=lambda it: it.__name__ if it in RULES else "broken",
)
def test_a_rule_notices_when_it_is_broken(rule, breaks, copied):
    breaks(copied)
    assert list(rule(copied)) != []


def test_images_are_of_the_version_that_is_built(rendered, copied):
    assert list(images_are_of_one_version(rendered, version())) == []
    for image in ("infergate-worker:latest", "infergate-worker", "infergate-worker:0.0.9"):
        first(worker(copied))["image"] = image
        assert list(images_are_of_one_version(copied, version())) != []


def test_there_is_one_gateway_and_one_worker_that_listen_on_the_ports_of_the_command_line(rendered):
    for deployment, role_name in ((gateway(rendered), "gateway"), (worker(rendered), "worker")):
        assert first(deployment)["args"][0] == role_name
        assert ports_of(first(deployment)) == {"grpc": 8001, "admin": 8002}
