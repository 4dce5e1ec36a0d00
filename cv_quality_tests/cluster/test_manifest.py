"""The Kubernetes manifest says what the package asks of workers; no server reads it here."""

from pathlib import Path

import yaml

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes" / "dask-cluster.yaml"


def test_the_manifest_has_workers_of_one_thread_that_only_clients_reach() -> None:
    cluster, autoscaler, policy = yaml.safe_load_all(MANIFEST.read_text())
    (worker,) = cluster["spec"]["worker"]["spec"]["containers"]
    (scheduler,) = cluster["spec"]["scheduler"]["spec"]["containers"]
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "1"
    assert worker["image"] == scheduler["image"]
    named = {port["name"] for port in scheduler["ports"]}
    assert {port["targetPort"] for port in cluster["spec"]["scheduler"]["service"]["ports"]} <= named
    assert autoscaler["spec"]["cluster"] == cluster["metadata"]["name"]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels == {"dask.org/cluster-name": cluster["metadata"]["name"]}
    assert {"podSelector": {"matchLabels": labels}} in policy["spec"]["ingress"][0]["from"]
