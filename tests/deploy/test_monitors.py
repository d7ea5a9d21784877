"""What Prometheus Operator is told: that it means the pods that are deployed. There are no schemas of it here."""

from rules import deployments_of, pod_of, ports_of

from project import MONITORING, documents

MONITORS = MONITORING / "kubernetes.yaml"


def test_each_deployment_is_scraped_on_its_admin_port(rendered):
    scraped = set()
    for monitor in documents(MONITORS):
        assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
        [deployment] = deployments_of(rendered, monitor["spec"]["selector"]["matchLabels"])
        assert monitor["metadata"]["namespace"] == deployment["metadata"]["namespace"]
        # The job's name ends with the monitor's, by which rules tell gateways from workers.
        assert monitor["metadata"]["name"] == deployment["metadata"]["name"]
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == "admin" and "admin" in ports_of(pod_of(deployment)["containers"][0])
        scraped.add(monitor["metadata"]["name"])
    assert scraped == {"infergate-gateway", "infergate-worker"}
