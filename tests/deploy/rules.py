"""What must hold of the manifests beyond their schema. A rule takes all objects and yields a complaint for each fault."""

import re

from project import seconds, settings, size

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"


def of_kind(objects, kind):
    return [item for item in objects if item["kind"] == kind]


def named(objects, kind, name):
    return next((item for item in of_kind(objects, kind) if item["metadata"]["name"] == name), None)


def title(item):
    return f"{item['kind']} {item['metadata']['name']}"


def pod_of(deployment):
    return deployment["spec"]["template"]["spec"]


def containers(objects):
    for deployment in of_kind(objects, "Deployment"):
        for container in pod_of(deployment)["containers"]:
            yield title(deployment), pod_of(deployment), container


def ports_of(container):
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def variables(container):
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def deployments_of(objects, labels):
    def matches(deployment):
        template = deployment["spec"]["template"]["metadata"]["labels"]
        return bool(labels) and labels.items() <= template.items()

    return [deployment for deployment in of_kind(objects, "Deployment") if matches(deployment)]


def selectors(objects):
    """Every selector that means pods of one deployment."""
    for deployment in of_kind(objects, "Deployment"):
        yield title(deployment), deployment["spec"]["selector"]["matchLabels"], deployment
        for constraint in pod_of(deployment)["topologySpreadConstraints"]:
            yield f"{title(deployment)} spread", constraint["labelSelector"]["matchLabels"], deployment
    for service in of_kind(objects, "Service"):
        yield title(service), service["spec"]["selector"], None
    for budget in of_kind(objects, "PodDisruptionBudget"):
        yield title(budget), budget["spec"]["selector"]["matchLabels"], None
    for policy in of_kind(objects, "NetworkPolicy"):
        pods = [policy["spec"]["podSelector"]]
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            pods += [peer["podSelector"] for peer in rule.get("from", rule.get("to", [])) if "podSelector" in peer]
        for selector in filter(None, pods):
            yield title(policy), selector["matchLabels"], None


def every_selector_means_one_deployment(objects):
    for where, labels, own in selectors(objects):
        found = deployments_of(objects, labels)
        if len(found) != 1 or own not in (None, found[0]):
            yield f"{where} selects {[title(item) for item in found]} by {labels}"


def every_deployment_has_a_service_a_budget_and_a_policy(objects):
    for deployment in of_kind(objects, "Deployment"):
        labels = deployment["spec"]["selector"]["matchLabels"]
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            picks = [item["spec"] for item in of_kind(objects, kind)]
            picks = [spec.get("podSelector", spec.get("selector")) for spec in picks]
            if not any(pick.get("matchLabels", pick) == labels for pick in picks):
                yield f"{title(deployment)} has no {kind}"


def services_name_ports_that_exist(objects):
    for service in of_kind(objects, "Service"):
        for deployment in deployments_of(objects, service["spec"]["selector"]):
            known = ports_of(pod_of(deployment)["containers"][0])
            for port in service["spec"]["ports"]:
                if known.get(port["targetPort"]) != port["port"]:
                    yield f"{title(service)}: port {port} is none of {known}"
                if port.get("appProtocol") != "kubernetes.io/h2c":
                    yield f"{title(service)}: {port['name']} does not say that it is HTTP/2"


def listeners_are_the_ports_that_are_declared(objects):
    for where, _, container in containers(objects):
        flags = dict(argument.lstrip("-").split("=", 1) for argument in container["args"][1:])
        for flag, port in (("listen", "grpc"), ("admin", "admin")):
            if flags.get(flag) != f"0.0.0.0:{ports_of(container)[port]}":
                yield f"{where}: --{flag}={flags.get(flag)} is not port {port} of {ports_of(container)}"


def probes_ask_the_right_port(objects):
    for where, _, container in containers(objects):
        ports = ports_of(container)
        ready, live = container.get("readinessProbe", {}), container.get("livenessProbe", {})
        if ready.get("grpc") != {"port": ports["grpc"]}:
            yield f"{where}: is not asked for its readiness over gRPC, as a whole, on the calls' port"
        if "grpc" in live or live.get("httpGet") != {"path": "/livez", "port": "admin"} or "admin" not in ports:
            yield f"{where}: a process that is not ready would be restarted, or its liveness is not asked for"
        if live.get("timeoutSeconds", 1) * live.get("failureThreshold", 3) < 10:
            yield f"{where}: is restarted for being busy for a moment"


def gateways_look_for_a_service_that_exists(objects):
    for where, _, container in containers(objects):
        for argument in container["args"]:
            if target := re.fullmatch(r"--kubernetes=\$\(NAMESPACE\)/([a-z-]+):([a-z]+)", argument):
                service = named(objects, "Service", target[1])
                ports = [port["name"] for port in service["spec"]["ports"]] if service else []
                if target[2] not in ports:
                    yield f"{where}: {argument} names no port of a service"
                elif service["spec"].get("clusterIP") != "None":
                    yield f"{title(service)} is not headless: clients of its name would be balanced by connection"
            elif argument.startswith("--kubernetes"):
                yield f"{where}: {argument} is not of the pod's own namespace"


def arguments_use_variables_that_are_set(objects):
    for where, _, container in containers(objects):
        for argument in container["args"]:
            for name in re.findall(r"\$\((\w+)\)", argument):
                if name not in variables(container):
                    yield f"{where}: {argument} uses {name}, which is not set"


def only_gateways_may_read_endpoint_slices_and_nothing_else(objects):
    expected = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}]
    roles = of_kind(objects, "Role") + of_kind(objects, "ClusterRole")
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    if [(role["kind"], role["rules"]) for role in roles] != [("Role", expected)]:
        yield f"roles are {[(title(role), role['rules']) for role in roles]}"
    for binding in bindings:
        subject = {"kind": "ServiceAccount", "name": "infergate-gateway", "namespace": binding["metadata"]["namespace"]}
        if not roles or binding["roleRef"]["name"] != roles[0]["metadata"]["name"] or binding["subjects"] != [subject]:
            yield f"{title(binding)} gives {binding['roleRef']} to {binding['subjects']}"
    if len(bindings) != 1:
        yield f"there are {len(bindings)} bindings"


def only_gateways_have_a_token(objects):
    for where, pod, _ in containers(objects):
        account = named(objects, "ServiceAccount", pod.get("serviceAccountName"))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield f"{where}: its account does not exist or gives its token to anybody"
        if pod.get("automountServiceAccountToken") is not where.endswith("-gateway"):
            yield f"{where}: has a token that it does not need, or needs one"


def updates_take_nothing_away_first(objects):
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]
        if spec.get("strategy") != {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}:
            yield f"{title(deployment)} rolls by {spec.get('strategy')}"
        if spec.get("replicas", 1) < 2 or spec.get("minReadySeconds", 0) < 1:
            yield f"{title(deployment)} has one replica, or drops an old one before the new one is known"
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") != 1:
            yield f"{title(budget)} lets more than one go, or none ever"


def pods_are_given_the_time_to_drain(objects):
    for where, pod, container in containers(objects):
        told = settings() | variables(container)
        drain = seconds(told["INFERGATE_DRAIN_ANNOUNCE"]) + seconds(told["INFERGATE_DRAIN_GRACE"])
        if pod.get("terminationGracePeriodSeconds", 30) <= drain + 5:
            yield f"{where}: draining takes {drain} s, and some to flush"


def variables_are_keys_that_exist(objects):
    for where, pod, container in containers(objects):
        ours = {name for name in variables(container) if name.startswith("INFERGATE_")}
        for name in sorted(ours - settings().keys()):
            yield f"{where}: {name} sets nothing"
        if pod.get("enableServiceLinks") is not False:
            yield f"{where}: gets variables of services beside its own"


def containers_may_do_nothing(objects):
    """What the profile `restricted` of Pod Security asks for, and a root that cannot be written."""
    for where, pod, container in containers(objects):
        user = pod.get("securityContext", {})
        if not user.get("runAsNonRoot") or not user.get("runAsUser") or not user.get("runAsGroup"):
            yield f"{where}: may be root"
        if user.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{where}: may make any system call"
        expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        if container.get("securityContext") != expected:
            yield f"{where}: may do more than nothing: {container.get('securityContext')}"
        if any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{where}: shares what is the machine's"


def volumes_are_read_only_or_bounded(objects):
    for where, pod, container in containers(objects):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        if volumes.keys() != {mount["name"] for mount in container.get("volumeMounts", [])}:
            yield f"{where}: mounts other volumes than there are"
        for mount in container.get("volumeMounts", []):
            volume = volumes.get(mount["name"], {})
            if not mount.get("readOnly") and not volume.get("emptyDir", {}).get("sizeLimit"):
                yield f"{where}: {mount['name']} can be written without a bound"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and not named(objects, "PersistentVolumeClaim", claim):
                yield f"{where}: {claim} is no claim"


def what_is_written_lies_in_a_volume(objects):
    for where, _, container in containers(objects):
        writable = [mount["mountPath"] for mount in container.get("volumeMounts", []) if not mount.get("readOnly")]
        path = variables(container).get("INFERGATE_DISCOVERY_STATE_FILE")
        if path and not any(path.startswith(folder + "/") for folder in writable):
            yield f"{where}: {path} cannot be written"


def memory_is_reserved_and_enough(objects):
    for where, _, container in containers(objects):
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not limits.get("memory") or not limits.get("cpu") or requests != limits:
            yield f"{where}: asks for {requests} and may have {limits}"
            continue
        messages = size((settings() | variables(container))["INFERGATE_LIMITS_MESSAGE_BYTES"])
        if 2 * messages > size(limits["memory"]):
            yield f"{where}: messages alone may take more than half of its memory"


def images_are_of_one_version(objects, version):
    for where, _, container in containers(objects):
        name, _, tag = container["image"].rpartition(":")
        if tag != version or not name:
            yield f"{where}: runs {container['image']}, not version {version}"


def traffic_is_denied_unless_allowed(objects):
    policies = of_kind(objects, "NetworkPolicy")
    if not any(
        policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for policy in policies
    ):
        yield "no policy denies what no other allows"
    for policy in policies:
        if set(policy["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
            yield f"{title(policy)} leaves a direction open"
        chosen = policy["spec"]["podSelector"].get("matchLabels", {})
        if chosen.get(COMPONENT) != "worker":
            continue
        if policy["spec"].get("egress"):
            yield f"{title(policy)} lets workers call"
        for rule in policy["spec"]["ingress"]:
            calls = {"protocol": "TCP", "port": 8001} in rule["ports"]
            from_gateways = [{"podSelector": {"matchLabels": {NAME: "infergate", COMPONENT: "gateway"}}}]
            if not rule.get("from") or calls and rule["from"] != from_gateways:
                yield f"{title(policy)} lets others than gateways call"


RULES = [
    every_selector_means_one_deployment,
    every_deployment_has_a_service_a_budget_and_a_policy,
    services_name_ports_that_exist,
    listeners_are_the_ports_that_are_declared,
    probes_ask_the_right_port,
    gateways_look_for_a_service_that_exists,
    arguments_use_variables_that_are_set,
    only_gateways_may_read_endpoint_slices_and_nothing_else,
    only_gateways_have_a_token,
    updates_take_nothing_away_first,
    pods_are_given_the_time_to_drain,
    variables_are_keys_that_exist,
    containers_may_do_nothing,
    volumes_are_read_only_or_bounded,
    what_is_written_lies_in_a_volume,
    memory_is_reserved_and_enough,
    traffic_is_denied_unless_allowed,
]
