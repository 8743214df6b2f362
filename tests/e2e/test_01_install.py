# SPDX-License-Identifier: Apache-2.0
"""helm install: the agent is Ready, kubelet knows the driver, and the API server had nothing to complain about."""
import re

import objects
from driver import NAMESPACE


def test_install_is_ready_and_registered(driver, cluster, node, within):
    within("helm install --wait to all pods Ready", driver.ready_seconds, 60)
    drivers = cluster.get("csinode", node)["spec"]["drivers"] or []
    assert objects.DRIVER in [d["name"] for d in drivers]
    for pod in cluster.get("-n", NAMESPACE, "pods")["items"]:
        assert pod["status"]["phase"] == "Running", pod["metadata"]["name"]


def test_api_server_warned_of_nothing(driver, cluster):
    rendered = cluster.helm("get", "manifest", "modelstage", "-n", NAMESPACE)
    done = cluster.run("kubectl", "-n", NAMESPACE, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict",
                       "-f", "-", stdin=rendered)
    assert "arning" not in done.stderr, done.stderr


def test_csidriver_is_as_documented(driver, cluster):
    found = cluster.get("csidriver", objects.DRIVER)
    assert found["spec"]["attachRequired"] is False and found["spec"]["podInfoOnMount"] is True
    assert found["spec"]["fsGroupPolicy"] == "None"
    assert sorted(found["spec"]["volumeLifecycleModes"]) == ["Ephemeral", "Persistent"]
    assert "security.openshift.io/csi-ephemeral-volume-profile" in found["metadata"]["labels"]


def allowed(cluster, account):
    """{resource: verbs} that a service account of the release's namespace may use."""
    text = cluster.kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{NAMESPACE}:{account}", "-n", "default")
    rows = [re.match(r"(\S+)\s+\[.*?\]\s+\[(.*?)\]\s+\[(.*?)\]", line) for line in text.splitlines()[1:]]
    return {(m.group(1), m.group(2)): set(m.group(3).split()) for m in rows if m}


def test_agent_may_do_what_is_documented_and_nothing_else(driver, cluster):
    spec = cluster.get("-n", NAMESPACE, "daemonset", "-l", "app.kubernetes.io/component=node")["items"][0]["spec"]["template"]["spec"]
    account = spec["serviceAccountName"]
    everybody = allowed(cluster, "default")
    more = {what: verbs for what, verbs in allowed(cluster, account).items() if everybody.get(what) != verbs}
    assert more == {("events", ""): {"create"}, ("nodes", ""): {"get", "patch"}}
    for verb in ("get", "list", "watch"):
        who = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        answer = cluster.run("kubectl", "auth", "can-i", verb, "secrets", "-A", who, check=False).stdout.strip()
        assert answer == "no", f"the agent may {verb} secrets"
