# SPDX-License-Identifier: Apache-2.0
"""
What a real API server says to everything in a dry run, and that the admission policy holds agents to their own
node. Nothing of it runs anywhere: the node is an object without a kubelet, made for this and deleted again.
"""
import json
import secrets
import time

import pytest

from conftest import EXAMPLES, VALUES

TAINT = {"key": "csi.modelstage.io/agent-not-ready", "effect": "NoExecute"}
OTHER_TAINT = {"key": "example.com/kept", "effect": "NoSchedule"}
DEADLINE = 60  # s, for what the API server does by itself


@pytest.fixture(scope="session")
def space(cluster):
    name = f"modelstage-check-{secrets.token_hex(4)}"
    cluster.do("create", "namespace", name)
    cluster.run("create", "serviceaccount", "default", "-n", name)  # a cluster's controllers may have been faster
    yield name
    cluster.run("delete", "namespace", name, "--wait=false")


def check_dry_run(cluster, space, objects):
    kinds = cluster.kinds()
    there = [o for o in objects if o["kind"] in kinds]
    if not there:
        pytest.skip(f"this server knows no {objects[0]['kind']}")
    for o in there:
        if "namespace" in o["metadata"]:
            o["metadata"]["namespace"] = space
    done = cluster.run("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-n", space, "-f", "-",
                       input=json.dumps({"apiVersion": "v1", "kind": "List", "items": there}))
    assert done.returncode == 0 and "arning" not in done.stderr, done.stderr


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_the_server_accepts_the_chart(cluster, space, tools, values):
    check_dry_run(cluster, space, json.loads(json.dumps(tools.render(values))))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_server_accepts_the_example(cluster, space, tools, path):
    check_dry_run(cluster, space, tools.strict(path))


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


class Agent:
    """The token of an agent on a node that is an object only."""

    def __init__(self, cluster, space, node):
        self.cluster, self.node = cluster, node
        account = ("create", "token", "modelstage-node", "-n", space)
        uid = cluster.get("-n", space, "pod", "agent")["metadata"]["uid"]
        self.own = cluster.with_token(cluster.do(*account, "--bound-object-kind=Pod", "--bound-object-name=agent",
                                                 f"--bound-object-uid={uid}").strip())
        self.unbound = cluster.with_token(cluster.do(*account).strip())

    def patch(self, change, node=None, who=None):
        """None if the API server would do it, else what it says. @change makes the object as the agent wants it."""
        node = node or self.node
        while True:
            before = self.cluster.get("node", node)
            after = json.loads(json.dumps(before))
            change(after)
            done = self.cluster.run("patch", "node", node, "--type=json", "--dry-run=server", "-p", json.dumps([
                {"op": "test", "path": "/metadata/resourceVersion", "value": before["metadata"]["resourceVersion"]},
                *({"op": "add", "path": f"/{part}", "value": after[part]} for part in ("metadata", "spec"))]), kubeconfig=who or self.own)
            if done.returncode == 0:
                return None
            if "the server rejected our request" not in done.stderr and "object has been modified" not in done.stderr:
                return done.stderr


    def send(self, space, who=None, **change):
        """As patch(). @change is of an event as csi/events.c makes it; dots are double underscores."""
        driver = "csi.modelstage.io"
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "agent.0011223344556677", "namespace": space},
                 "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": space, "name": "some", "uid": "1-2"},
                 "type": "Normal", "reason": "ModelStaged", "message": "it is mounted",
                 "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1,
                 "source": {"component": driver, "host": self.node}, "reportingComponent": driver, "reportingInstance": self.node}
        for key, value in change.items():
            *path, last = key.split("__")
            at = event
            for part in path:
                at = at[part]
            at[last] = value
        done = self.cluster.run("create", "--dry-run=server", "--validate=false", "-f", "-", input=json.dumps(event), kubeconfig=who or self.own)
        return None if done.returncode == 0 else done.stderr


@pytest.fixture(scope="session")
def agent(cluster, space, tools):
    name = f"modelstage-check-{secrets.token_hex(4)}"
    objects = json.loads(json.dumps(tools.render({"nodeLabels": "node"})).replace("some-namespace", space))
    wanted = [o for o in objects if o["metadata"]["name"] in ("modelstage-node", "modelstage-node-events") and o["kind"] in
              ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")]
    assert len(wanted) == 7
    for o in wanted:
        if o["kind"] != "ServiceAccount":  # beside an installation, not instead of it
            o["metadata"]["name"] = o["metadata"]["name"].replace("modelstage-node", name)
        if o["kind"] == "ClusterRoleBinding":
            o["roleRef"]["name"] = name
        if o["kind"] == "ValidatingAdmissionPolicyBinding":
            o["spec"]["policyName"] = o["metadata"]["name"]
    try:
        cluster.apply(*wanted, namespace=space)
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"{name}-other", "labels": {"a": "b"}}},
                      {"apiVersion": "v1", "kind": "Node", "spec": {"taints": [TAINT, OTHER_TAINT]},
                       "metadata": {"name": name, "labels": {"modelstage.io/warm-old": "true", "example.com/kept": "yes"},
                                    "annotations": {"example.com/kept": "yes"}}},
                      {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": {
                          "nodeName": name, "serviceAccountName": "modelstage-node", "tolerations": [{"operator": "Exists"}],
                          "containers": [{"name": "agent", "image": "localhost/none:none"}]}}, namespace=space)
        found = Agent(cluster, space, name)
        wait_until(lambda: found.patch(cordon), "the policy comes into force")
        wait_until(lambda: found.send(space, reason="Killing"), "that of events, too")
        yield found
    finally:
        cluster.run("delete", "-n", space, "pod", "agent", "--force", "--grace-period=0")
        cluster.run("delete", "node", name, f"{name}-other")
        for kind in ("clusterrolebinding", "clusterrole", "validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            cluster.run("delete", kind, name, *([f"{name}-events"] if "policy" in kind else []))


def taints(node, change):
    node["spec"]["taints"] = change(node["spec"].get("taints", []))


def cordon(node):
    node["spec"]["unschedulable"] = True


def without(key):
    return lambda node: taints(node, lambda old: [t for t in old if t["key"] != key])


def label(key, value="true"):
    return lambda node: node["metadata"]["labels"].__setitem__(key, value)


@pytest.mark.parametrize("change", [without(TAINT["key"]), label("modelstage.io/warm-llama-1"), label("modelstage.io/warm-old", "false"),
                                    lambda node: node["metadata"]["labels"].pop("modelstage.io/warm-old"), lambda node: None],
                         ids=["removes its taint", "sets a label", "changes a label", "removes a label", "changes nothing"])
def test_an_agent_does_its_work_on_its_own_node(agent, change):
    assert agent.patch(change) is None


@pytest.mark.parametrize("change, says", [
    (without(OTHER_TAINT["key"]), "start-up taint"),
    (lambda node: taints(node, lambda old: []), "start-up taint"),
    (lambda node: taints(node, lambda old: [*old, {"key": "example.com/new", "effect": "NoExecute"}]), "start-up taint"),
    (lambda node: taints(node, lambda old: [*old, {**TAINT, "effect": "NoSchedule"}]), "start-up taint"),
    (lambda node: taints(node, lambda old: [{**t, "value": "x"} for t in old]), "start-up taint"),
    (cordon, "the rest of the node"),
    (lambda node: node["spec"].__setitem__("podCIDRs", ["10.9.0.0/24"]) or node["spec"].__setitem__("podCIDR", "10.9.0.0/24"), "the rest"),
    (lambda node: node["spec"].__setitem__("providerID", "x://y"), "the rest of the node"),
    (label("example.com/new"), "labels"),
    (label("example.com/kept", "no"), "labels"),
    (label("modelstage.io/else"), "labels"),
    (label("node-role.kubernetes.io/control-plane", ""), "labels"),
    (lambda node: node["metadata"]["labels"].pop("example.com/kept"), "labels"),
    (lambda node: node["metadata"]["annotations"].__setitem__("example.com/kept", "no"), "annotations"),
    (lambda node: node["metadata"].__setitem__("finalizers", ["example.com/x"]), "finalizers"),
], ids=["another taint goes", "all taints go", "a taint comes", "ours comes again", "taints change", "cordon", "podCIDR", "providerID", "a label comes",
        "a label changes", "of ours but not warm-", "a role", "a label goes", "an annotation changes", "a finalizer comes"])
def test_an_agent_is_refused_all_else(agent, change, says):
    answer = agent.patch(change)
    assert answer and "an agent of modelstage" in answer and says in answer, answer


def test_an_agent_is_refused_another_node(agent):
    answer = agent.patch(label("modelstage.io/warm-llama-1"), node=f"{agent.node}-other")
    assert answer and "only the node that it runs on" in answer


def test_a_token_of_no_node_is_refused(agent):
    answer = agent.patch(label("modelstage.io/warm-llama-1"), who=agent.unbound)
    assert answer and "only the node that it runs on" in answer


def test_an_agent_tells_a_pod_what_it_has_done(agent, space):
    assert agent.send(space) is None


@pytest.mark.parametrize("change, says", [
    ({"reason": "Killing"}, "was staged"), ({"type": "Warning"}, "was staged"), ({"involvedObject__kind": "Node"}, "was staged"),
    ({"source__component": "kubelet"}, "only for csi.modelstage.io"), ({"reportingComponent": "kubelet"}, "only for csi.modelstage.io"),
    ({"source__host": "other"}, "only for the node"), ({"reportingInstance": "other"}, "only for the node"), ({"source": {}}, "only for"),
], ids=str)
def test_an_agent_forges_no_event(agent, space, change, says):
    answer = agent.send(space, **change)
    assert answer and "an agent of modelstage" in answer and says in answer, answer


def test_a_token_of_no_node_sends_no_event(agent, space):
    assert "only for the node" in agent.send(space, who=agent.unbound)


def test_an_agent_reads_no_secret_and_deletes_nothing(agent, cluster, space):
    for question in (["get", "secrets"], ["list", "secrets"], ["delete", "nodes"], ["update", "nodes"], ["patch", "nodes", "--subresource=status"], ["list", "nodes"],
                     ["get", "pods"], ["create", "pods"], ["get", "configmaps"]):
        answer = cluster.run("auth", "can-i", *question, "-n", space, kubeconfig=agent.own)
        assert answer.stdout.strip() == "no", question
    assert cluster.run("auth", "can-i", "create", "events", "-n", "default", kubeconfig=agent.own).stdout.strip() == "yes"


def test_others_are_not_held(agent, cluster):
    cluster.do("patch", "node", agent.node, "--dry-run=server", "--type=merge", "-p", '{"spec": {"unschedulable": true}}')
