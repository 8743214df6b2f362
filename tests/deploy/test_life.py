# SPDX-License-Identifier: Apache-2.0
"""
A release from its installation to its end, by helm on an API server of our own: what of it can be changed, what
cannot, and that nothing stays. Nothing runs there; tools/e2e does the same with pods that read meanwhile.
"""
import json
import re
import secrets
import shutil

import pytest

from conftest import CHART, REPOSITORY, VALUES, run

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
    documented = re.search(r"^\$ helm upgrade modelstage deploy/chart/modelstage -n modelstage (.*)$",
                           (REPOSITORY / "docs/kubernetes.md").read_text(), re.M)[1]
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
