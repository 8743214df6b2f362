# SPDX-License-Identifier: Apache-2.0
"""
A release from its installation to its end, by helm on an API server of our own: what of it can be changed, what
cannot, and that nothing stays. Nothing runs there; tools/e2e does the same with pods that read meanwhile.
"""
import json
import os
import pathlib
import re
import secrets
import shutil

import pytest

from conftest import CHART, REPOSITORY, VALUES, run

PAGE = (REPOSITORY / "docs/kubernetes.md").read_text()
MONITORING = [("podmonitors", "PodMonitor"), ("prometheusrules", "PrometheusRule")]


class Release:
    def __init__(self, helm, cluster, namespace, tools):
        self.helm, self.cluster, self.namespace, self.tools = helm, cluster, namespace, tools

    def run(self, verb, *args):
        return run(self.helm, "--kubeconfig", self.cluster.kubeconfig, "-n", self.namespace, verb, "modelstage", *args)

    def do(self, verb, *args):
        done = self.run(verb, *args)
        assert done.returncode == 0 and "arning" not in done.stderr.replace("WARNING: Kubernetes configuration file", ""), done.stderr
        return done.stdout

    def install(self, values):
        return self.do("install", CHART, "-f", self.tools.file_of(values))

    def upgrade(self, values):
        # --reset-values: helm takes an empty file for "as before"
        return self.do("upgrade", CHART, "--reset-values", "-f", self.tools.file_of(values))

    def objects(self, kinds=None):
        """What is on the server, by kind and name; only what the chart says, not what the server adds."""
        if not kinds:
            kinds = {o["kind"].lower() for values in VALUES for o in self.tools.render(values)}
        listed = self.cluster.get(",".join(sorted(kinds)), "-A", "-l", "app.kubernetes.io/instance=modelstage")
        return {(o["kind"], o["metadata"]["name"]): o.get("spec") or o.get("data") or o.get("rules") for o in listed["items"]}

    def every_kind(self):
        names = self.cluster.do("api-resources", "--verbs=list", "-o", "name").split()
        return [name for name in names if not name.startswith(("events", "componentstatuses"))]


@pytest.fixture(name="release")
def fixture_release(own_server, tools):
    crds = [{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.monitoring.coreos.com"},
             "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [
                 {"name": "v1", "served": True, "storage": True,
                  "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}
            for plural, kind in MONITORING]
    own_server.apply(*crds, namespace="default")
    own_server.wait_for_crds()
    namespace = f"release-{secrets.token_hex(4)}"
    own_server.do("create", "namespace", namespace)
    found = Release(tools.helm, own_server, namespace, tools)
    yield found
    found.run("uninstall")


def test_one_set_of_values_can_follow_another(release, tools):
    release.install({})
    before = release.objects()
    assert {kind for kind, _ in before} >= {"CSIDriver", "DaemonSet", "Deployment", "StorageClass", "ValidatingAdmissionPolicy"}
    for values in reversed(VALUES):
        release.upgrade(values)
        wanted = {(o["kind"], o["metadata"]["name"]) for o in tools.render(values)}
        assert set(release.objects()) == wanted, values.stem
    release.do("rollback", "1")
    assert release.objects() == before


def older_chart(folder):
    """The chart before somebody added networkPolicy to it."""
    copy = shutil.copytree(CHART, folder / "older")
    values = (copy / "values.yaml").read_text()
    fewer, n = re.subn(r"^networkPolicy:\n(  .*\n)+", "", values, flags=re.M)
    assert n == 1
    (copy / "values.yaml").write_text(fewer)
    (copy / "templates/networkpolicy.yaml").unlink()
    return copy


def test_the_documented_upgrade_brings_the_new_charts_defaults(release, tmp_path):
    documented = re.search(r"^\$ helm upgrade modelstage deploy/chart/modelstage -n modelstage (.*)$", PAGE, re.M)[1]
    options = documented.replace("sha256:…", f"sha256:{'0' * 64}").split()
    mine = release.tools.file_of({"node": {"podLabels": {"mine": "kept"}}})
    release.do("install", older_chart(tmp_path), "-f", mine)
    release.do("upgrade", CHART, *options)
    template = release.objects()["DaemonSet", "modelstage-node"]["template"]
    assert template["metadata"]["labels"]["mine"] == "kept"
    assert template["spec"]["containers"][0]["image"].endswith("@sha256:" + "0" * 64)


def test_nothing_is_left_of_a_release(release):
    release.install(next(v for v in VALUES if v.stem == "everything"))
    assert len(release.objects()) > 20
    release.do("uninstall")
    assert release.objects(release.every_kind()) == {}
    assert release.cluster.get("csidrivers,storageclasses")["items"] == []
    release.install({})  # and a new one finds nothing in its way


def test_parameters_of_a_class_cannot_be_changed_but_its_name_can(release):
    release.install({"storageClasses": [{"name": "a", "model": "r.io/m:1"}]})
    done = release.run("upgrade", CHART, "-f", release.tools.file_of({"storageClasses": [{"name": "a", "model": "r.io/m:2"}]}))
    assert done.returncode != 0 and "parameters: " in done.stderr, done.stderr
    release.upgrade({"storageClasses": [{"name": "b", "model": "r.io/m:2"}]})
    assert [name for kind, name in release.objects() if kind == "StorageClass"] == ["b"]


def test_notes_say_what_to_do_next(release):
    notes = release.install({})
    for part in (f"-n {release.namespace} rollout status daemonset/modelstage-node", "modelstage.io/model:", "storageClassName: modelstage",
                 "csi.modelstage.io/agent-not-ready", "helm uninstall"):
        assert part in notes, part
    commands = re.findall(r"^ +(kubectl .*)$", notes, re.M)
    assert commands and not [c for c in commands if re.search(r"[][*?]", re.sub("'[^']*'", "", c))], "no shell looks for files"
    notes = release.upgrade({"storageClasses": [{"name": "llama", "model": "r.io/m:1"}], "startupTaint": {"enabled": False}})
    assert "storageClassName: llama" in notes and "modelstage.io/model:" not in notes and "agent-not-ready" not in notes
    notes = release.upgrade({"controller": {"enabled": False}})
    assert "driver: csi.modelstage.io" in notes and "storageClassName" not in notes


def test_the_claim_of_the_notes_is_one(release, tools):
    notes = release.install({})
    start = notes.index("     apiVersion: v1")
    claim = "\n".join(line[5:] for line in notes[start:notes.index("   and use it")].splitlines())
    path = tools.folder / "claim.yaml"
    path.write_text(claim)
    found, = tools.strict(path)
    assert found["kind"] == "PersistentVolumeClaim" and json.dumps(found["metadata"]["annotations"])
    assert found["spec"]["storageClassName"] == "modelstage"


def test_one_driver_a_cluster(release, own_server, tools):
    release.install({})
    own_server.do("create", "namespace", "second")
    done = run(tools.helm, "--kubeconfig", own_server.kubeconfig, "-n", "second", "install", "again", CHART)
    assert done.returncode != 0 and "exists and cannot be imported into the current release" in done.stderr


# ---- commands of docs/kubernetes.md ----

class Shell:
    def __init__(self, cluster, tools, folder):
        (folder / "deploy").symlink_to(REPOSITORY / "deploy")
        paths = {str(pathlib.Path(program).parent) for program in (cluster.kubectl, tools.helm)}
        self.folder = folder
        self.environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig),
                            "PATH": ":".join([os.environ["MS_BUILD"], *paths, os.environ["PATH"]])}

    def run(self, command):
        return run("bash", "-e", "-o", "pipefail", "-c", command, cwd=self.folder, env=self.environment)

    def do(self, command):
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.splitlines()


@pytest.fixture(name="shell")
def fixture_shell(own_server, tools, tmp_path):
    if not shutil.which("jq"):
        pytest.skip("the documented commands need jq")
    return Shell(own_server, tools, tmp_path)


def documented(part):
    return [line[2:] for line in PAGE.splitlines() if line.startswith("$ ") and part in line]


def volume(name, claim=None, policy="Retain", driver="csi.modelstage.io"):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "accessModes": ["ReadOnlyMany"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": policy, "storageClassName": "",
        "csi": {"driver": driver, "volumeHandle": name}, **({"claimRef": {"namespace": "default", "name": claim}} if claim else {})}}


def test_what_is_to_go_before_the_release_is_listed(own_server, shell):
    listing, = documented("kubectl get pv")
    assert shell.do(listing) == []
    own_server.apply(volume("free"), volume("bound", "llama", "Delete"), volume("other", "x", driver="other.example.com"), namespace="default")
    try:
        assert shell.do(listing) == ["bound default/llama Delete", "free no/claim Retain"]
    finally:
        for name in ("free", "bound", "other"):  # nobody takes kubernetes.io/pv-protection off here
            own_server.do("patch", "pv", name, "-p", '{"metadata": {"finalizers": null}}')
            own_server.do("delete", "pv", name)


def test_labels_that_are_left_are_listed(own_server, shell):
    listing, = re.findall(r"`(kubectl get nodes -o json \| jq [^`]*)`", PAGE)
    own_server.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}},
                     {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "labelled", "labels": {"modelstage.io/warm-a": "true", "b": "c"}}},
                     namespace="default")
    try:
        assert json.loads("".join(shell.do(listing))) == ["modelstage.io/warm-a"]
    finally:
        own_server.do("delete", "node", "bare", "labelled")


def test_a_value_that_only_the_daemon_refuses_can_be_seen_before(shell):
    commands = [*documented("helm template"), *documented("kubectl create --dry-run"), *documented("modelstaged --check-config")]
    for size, works in (("256MiB", True), ("lots", False)):
        (shell.folder / "values.yaml").write_text(json.dumps({"config": {"engine": {"memory": size}}}))
        # --kube-version: as in conftest
        shell.do("\n".join(commands[:2]).replace("helm template", "helm template --kube-version 1.37.0"))
        done = shell.run(commands[2])
        assert (done.returncode == 0) is works and (works or "engine.memory" in done.stdout + done.stderr), done
