# SPDX-License-Identifier: Apache-2.0
"""What the chart makes of its values, and which values it refuses."""
import copy
import json
import os
import pathlib
import re

import pytest

from conftest import CHART, NAMESPACE, REPOSITORY, VALUES, run

EVERYTHING = REPOSITORY / "tests/deploy/values/everything.yaml"
NODE_ONLY = REPOSITORY / "tests/deploy/values/node-only.yaml"
CLUSTER_WIDE = {"CSIDriver", "StorageClass", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding"}
every_values_file = pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)


@every_values_file
def test_lint_has_no_complaint(tools, values):
    done = run(tools.helm, "lint", "--strict", CHART, "-f", values)
    assert done.returncode == 0, done.stdout + done.stderr


@every_values_file
def test_every_object_is_of_its_kubernetes_type(tools, values):
    objects = tools.render(values)  # strict refuses unknown and repeated fields, wrong types and unknown kinds
    assert objects.get("CSIDriver", "csi.modelstage.io") and objects.get("DaemonSet", "modelstage-node")


def test_strict_decoding_sees_what_a_lenient_client_would_not(tools):
    manifest = tools.manifests({}).read_text()
    for good, bad, says in (("maxSurge: 0", "maxSurges: 0", "maxSurges"),
                            ("privileged: true", "privileged: true\n            privileged: true", "already set"),
                            ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: thirty", "cannot unmarshal"),
                            ("kind: DaemonSet", "kind: DemonSet", "no type is known")):
        assert good in manifest
        path = tools.folder / "broken.yaml"
        path.write_text(manifest.replace(good, bad))
        done = run(tools.strict_program, path)
        assert done.returncode == 1 and says in done.stderr, f"{bad}: {done.stderr}"


def check_config(tools, objects, name, role):
    path = tools.folder / "config.yaml"
    path.write_text(objects.get("ConfigMap", name)["data"]["config.yaml"])
    daemon = pathlib.Path(os.environ["MS_BUILD"]) / "modelstaged"
    done = run(daemon, "--check-config", "--config", path, "--role", role)
    assert done.returncode == 0, done.stdout + done.stderr


@every_values_file
def test_the_daemon_accepts_its_configuration(tools, values):
    objects = tools.render(values)
    check_config(tools, objects, "modelstage-node", "node")
    if objects.of("Deployment"):
        check_config(tools, objects, "modelstage-controller", "controller")


def test_config_goes_through_as_it_is(tools):
    wanted = tools.plain(EVERYTHING)["config"]
    config = tools.plain(tools.render(EVERYTHING).get("ConfigMap", "modelstage-node")["data"]["config.yaml"])
    wanted["cache"]["root"] = "/data/modelstage"
    wanted["credentials"]["dockerConfig"] = "/etc/modelstage/docker/config.json"
    wanted["kubernetes"] |= {"events": "on", "startupTaint": "example.com/models-not-ready", "labels": "node",
                             "nfdDir": "/etc/kubernetes/node-feature-discovery/features.d"}
    wanted["policy"]["layouts"] = ["/srv/models", "/etc/modelstage-providers"]
    wanted["http"] = {"address": ":19810"}
    wanted["control"] = {"socket": "/run/modelstage/control.sock"}
    wanted["csi"] = {"endpoint": "unix:///csi/csi.sock", "kubeletRegistration": "/registration",
                     "kubeletPath": "/var/lib/k0s/kubelet/plugins/csi.modelstage.io/csi.sock"}
    wanted["warm"] = tools.plain(EVERYTHING)["warm"]
    assert config == wanted


def test_config_knows_every_setting_that_is_not_the_charts_to_say():
    settings = set(re.findall(r'^SETTING\((\w+), \w+, "(\w+)"', (REPOSITORY / "base/settings.def").read_text(), re.M))
    schema = json.loads((CHART / "values.schema.json").read_text())["definitions"]["config"]["properties"]
    known = {(section, key) for section, s in schema.items() if s["type"] == "object" for key in s["properties"]}
    charts = {("node", "name"), ("csi", "endpoint"), ("csi", "kubeletRegistration"), ("csi", "kubeletPath"), ("control", "socket"),
              ("cache", "root"), ("http", "address"), ("kubernetes", "serviceAccount"), ("kubernetes", "events"),
              ("kubernetes", "startupTaint"), ("kubernetes", "labels"), ("kubernetes", "nfdDir")}
    assert known == settings - charts | {("policy", "allow")}  # a list, so not in settings.def


# ---- the schema ----

FREE = {"global", "labels", "annotations", "quantities", "headers"}  # maps whose keys are the user's


def schema_objects(node, name):
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield name, node
        for key, value in node.items():
            yield from schema_objects(value, key if key not in ("items", "properties") else name)
    elif isinstance(node, list):
        for value in node:
            yield from schema_objects(value, name)


def test_the_schema_lists_the_keys_of_every_object():
    found = list(schema_objects(json.loads((CHART / "values.schema.json").read_text()), "values"))
    assert len(found) > 30
    for name, node in found:
        if name in FREE:
            assert "properties" not in node
        else:
            assert node["additionalProperties"] is False and node["properties"], name


def test_the_schema_and_the_default_values_have_the_same_keys(tools):
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(value, node, path):
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
        if isinstance(value, dict) and "properties" in node and path != "config":
            for key in value.keys() | node["properties"].keys() - {"global"}:
                assert key in node["properties"] and key in value, f"{path}.{key}"
                compare(value[key], node["properties"][key], f"{path}.{key}".lstrip("."))

    defaults = tools.plain(CHART / "values.yaml")
    for key in ("affinity", "resources"):  # Kubernetes' own, with defaults of ours or none
        defaults["node"].pop(key), defaults["controller"].pop(key)
        for part in ("node", "controller"):
            schema["properties"][part]["properties"].pop(key)
    defaults["controller"]["provisioner"].pop("resources")
    schema["properties"]["controller"]["properties"]["provisioner"]["properties"].pop("resources")
    compare(defaults, schema, "")


def paths_to_maps(value, path=()):
    """Every map in the values, but those whose keys are the user's."""
    if isinstance(value, dict):
        last = path[-1] if path else ""
        if not re.search(r"(?i)labels$|annotations$|nodeSelector|headers|requests|limits", str(last)):
            yield path
            for key, child in value.items():
                yield from paths_to_maps(child, (*path, key))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from paths_to_maps(child, (*path, i))


def test_an_unknown_key_is_refused_wherever_it_stands(tools):
    everything = tools.plain(EVERYTHING)
    paths = list(paths_to_maps(everything))
    assert len(paths) > 50
    for path in paths:
        values = copy.deepcopy(everything)
        at = values
        for key in path:
            at = at[key]
        at["nonsense"] = "x"
        done = tools.template(values)
        assert done.returncode != 0 and "nonsense" in done.stderr, f"{path}: {done.stderr[:500]}"


@pytest.mark.parametrize("values, says", [
    ({"image": {"digest": "sha256:123"}}, "digest"),
    ({"image": {"repository": "r.io/m@sha256:123"}}, "repository"),
    ({"image": {"tag": 1.0}}, "tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"kubelet": {"root": "var/lib/kubelet"}}, "root"),
    ({"kubelet": {"root": "/var/lib/kubelet/"}}, "root"),
    ({"cache": {"path": "/"}}, "path"),
    ({"http": {"port": 0}}, "port"),
    ({"config": {"csi": {"endpoint": "unix:///x"}}}, "csi"),
    ({"config": {"cache": {"root": "/x"}}}, "root"),
    ({"config": {"engine": {"connections": 0}}}, "connections"),
    ({"config": {"engine": {"io": "fast"}}}, "io"),
    ({"config": {"registries": [{"mirrors": []}]}}, "host"),
    ({"config": {"registries": [{"host": "r.io", "caFile": "ca.pem"}]}}, "caFile"),
    ({"warm": ["r.io/m:1"]}, "warm"),
    ({"warm": [{"pin": True}]}, "model"),
    ({"warm": [{"model": "r.io/m:1", "pin": "yes"}]}, "pin"),
    ({"caCertificates": [{"name": "a"}]}, "caCertificates"),
    ({"caCertificates": [{"name": "a", "secret": "s", "configMap": "c"}]}, "caCertificates"),
    ({"caCertificates": [{"name": "../a", "secret": "s"}]}, "name"),
    ({"storageClasses": [{"model": "r.io/m:1"}]}, "name"),
    ({"storageClasses": [{"name": "Llama"}]}, "name"),
    ({"storageClasses": [{"name": "a", "pullPolicy": "always"}]}, "pullPolicy"),
    ({"storageClasses": [{"name": "a", "allow": "r.io/**"}]}, "allow"),
    ({"storageClasses": [{"name": "a", "include": ["*.json,*.bin"]}]}, "include"),
    ({"storageClasses": [{"name": "a", "secretNamespace": "b"}]}, "secretName"),
    ({"storageClasses": [{"name": "a", "secretName": "s", "secretNamespace": "platform"}]}, "say with allow, or model"),
    ({"storageClasses": [{"name": "a", "reclaimPolicy": "Recycle"}]}, "reclaimPolicy"),
    ({"storageClasses": {"name": "a"}}, "storageClasses"),
    ({"startupTaint": {"key": "not ready"}}, "key"),
    ({"nodeLabels": True}, "nodeLabels"),
    ({"node": {"maxUnavailable": "0%"}}, "maxUnavailable"),
    ({"node": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"node": {"terminationGracePeriodSeconds": 1}}, "terminationGracePeriodSeconds"),
    ({"node": {"hostPaths": ["models"]}}, "hostPaths"),
    ({"node": {"hostPaths": ["/srv/models", "/srv/models"]}}, "hostPaths"),
    ({"node": {"hostPaths": ["/srv/models", "/srv/models/llama"]}}, "/srv/models/llama overlaps /srv/models"),
    ({"node": {"hostPaths": ["/etc"]}}, "/etc overlaps /etc/modelstage"),
    ({"node": {"hostPaths": ["/usr"]}}, "/usr overlaps /usr/bin"),
    ({"node": {"hostPaths": ["/srv//../proc/1"]}}, "/proc/1 overlaps /proc"),
    ({"node": {"hostPaths": ["/var/lib/modelstage"]}}, "overlaps /var/lib/modelstage, which is cache.path's"),
    ({"node": {"hostPaths": ["/srv/features.d"]}, "nodeLabels": "nfd", "nfdDir": "/srv/features.d"}, "which is nfdDir's"),
    ({"node": {"env": [{"name": "NODE_NAME", "value": "x"}]}}, "env"),
    ({"cache": {"path": "/var/lib/kubelet"}}, "cache.path: /var/lib/kubelet overlaps /var/lib/kubelet/p"),
    ({"cache": {"path": "/data/kubelet/pods/x"}, "kubelet": {"root": "/data/kubelet"}}, "cache.path"),
    ({"cache": {"path": "/tmp/cache"}}, "cache.path"),
    ({"caCertificates": [{"name": "a", "secret": "s"}, {"name": "a", "secret": "t"}]}, "caCertificates: there are two of the name a"),
    ({"storageClasses": [{"name": "a"}, {"name": "a", "model": "r.io/m:1"}]}, "storageClasses: there are two of the name a"),
    ({"storageClasses": [{"name": "a", "default": True}, {"name": "b"}, {"name": "c", "default": True}]}, "the default: a, c"),
    ({"storageClasses": [{"name": "a", "default": True}, {"name": "b", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}]}, "a, b"),
    ({"node": {"podLabels": {"a": 1}}}, "podLabels"),
    ({"node": {"tolerations": [{"operator": "Maybe"}]}}, "operator"),
    ({"controller": {"replicas": 0}}, "replicas"),
    ({"podMonitor": {"interval": "often"}}, "interval"),
    ({"networkPolicy": {"metricsFrom": [{}]}}, "metricsFrom"),
    ({"dockerConfig": {"secret": "s"}, "config": {"credentials": {"dockerConfig": "/x/config.json"}}}, "cannot both be set"),
], ids=lambda v: json.dumps(v)[:70] if isinstance(v, dict) else "")
def test_an_impossible_value_is_refused_by_name(tools, values, says):
    done = tools.template(values)
    assert done.returncode != 0 and says in done.stderr, done.stderr + done.stdout[:200]


@pytest.mark.parametrize("values", [
    {"cache": {"path": "/var/lib/kubelet/modelstage"}}, {"node": {"hostPaths": ["/srv/a", "/srv/ab", "/usr/share/models"]}},
    {"node": {"hostPaths": ["/etc/kubernetes/node-feature-discovery"]}}, {"storageClasses": [{"name": "a", "default": True}, {"name": "b", "default": False}]},
], ids=json.dumps)
def test_what_only_looks_like_an_overlap_is_accepted(tools, values):
    assert tools.render(values)


def test_the_chart_can_be_a_dependency(tools):
    assert tools.render({"global": {"anything": 1}})


# ---- workloads ----

def test_the_driver_object_is_what_the_daemon_expects(tools):
    driver = tools.render({}).get("CSIDriver", "csi.modelstage.io")
    assert driver["metadata"]["labels"]["security.openshift.io/csi-ephemeral-volume-profile"] == "restricted"
    assert driver["spec"] == {"attachRequired": False, "podInfoOnMount": True, "fsGroupPolicy": "None",
                              "volumeLifecycleModes": ["Persistent", "Ephemeral"], "requiresRepublish": False,
                              "storageCapacity": False, "seLinuxMount": False}


@every_values_file
def test_nothing_but_the_agent_is_privileged(tools, values):
    for name, pod in tools.render(values).pods().items():
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            if container["name"] == "agent":
                assert name == "modelstage-node" and context["privileged"] is True
                continue
            assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not any("hostPath" in v for v in pod["spec"]["volumes"])
        assert not pod["spec"].get("hostPID") and not pod["spec"].get("hostIPC")


@pytest.mark.parametrize("root", ["/var/lib/kubelet", "/var/lib/k0s/kubelet"])
def test_paths_of_kubelet_are_the_same_inside_and_outside(tools, root):
    objects = tools.render({"kubelet": {"root": root}})
    agent = objects.container("modelstage-node", "agent")
    mounts = {m["name"]: m for m in agent["volumeMounts"]}
    paths = {v["name"]: v["hostPath"]["path"] for v in objects.pods()["modelstage-node"]["spec"]["volumes"] if "hostPath" in v}
    assert paths == {"plugin": f"{root}/plugins/csi.modelstage.io", "registration": f"{root}/plugins_registry",
                     "pods": f"{root}/pods", "cache": "/var/lib/modelstage"}
    assert mounts["pods"]["mountPath"] == paths["pods"] and mounts["pods"]["mountPropagation"] == "Bidirectional"
    assert [m["name"] for m in agent["volumeMounts"] if "mountPropagation" in m] == ["pods"]
    assert mounts["cache"]["mountPath"] == paths["cache"]
    assert (mounts["plugin"]["mountPath"], mounts["registration"]["mountPath"]) == ("/csi", "/registration")


def test_the_agent_is_run_as_the_rest_of_the_project_expects(tools):
    objects = tools.render({})
    spec, agent = objects.pods()["modelstage-node"]["spec"], objects.container("modelstage-node", "agent")
    assert agent["args"] == ["--config", "/etc/modelstage/config.yaml", "--role", "node"] and "command" not in agent
    assert {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in agent["env"]} == {
        "NODE_NAME": "spec.nodeName", "POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    assert agent["ports"] == [{"name": "http", "containerPort": 9810, "protocol": "TCP"}]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert agent[probe]["httpGet"] == {"path": path, "port": "http"}
    assert agent["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    assert agent["image"] == "localhost/modelstage:0.1.0"
    assert spec["priorityClassName"] == "system-node-critical" and {"operator": "Exists"} in spec["tolerations"]
    assert objects.get("DaemonSet", "modelstage-node")["spec"]["updateStrategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}


def test_the_provisioner_tells_the_controller_whose_claim_it_is(tools):
    objects = tools.render({})
    provisioner = objects.container("modelstage-controller", "csi-provisioner")
    assert provisioner["image"] == "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0"
    assert {"--extra-create-metadata", "--leader-election", "--timeout=30s", "--csi-address=/csi/csi.sock"} <= set(provisioner["args"])
    controller = objects.container("modelstage-controller", "controller")
    assert controller["args"] == ["--config", "/etc/modelstage/config.yaml", "--role", "controller"]
    sockets = [[m["name"] for m in c["volumeMounts"] if m["mountPath"] == "/csi"] for c in (provisioner, controller)]
    assert sockets == [["socket"], ["socket"]]


def test_every_value_of_a_workload_arrives(tools):
    objects, values = tools.render(EVERYTHING), tools.plain(EVERYTHING)
    for name, part in (("modelstage-node", "node"), ("modelstage-controller", "controller")):
        pod, given = objects.pods()[name], values[part]
        for key in ("affinity", "priorityClassName"):
            assert pod["spec"][key] == given[key], key
        assert all(t in pod["spec"]["tolerations"] for t in given["tolerations"])
        assert pod["spec"]["nodeSelector"] == given["nodeSelector"] | {"kubernetes.io/os": "linux"}
        assert pod["spec"]["imagePullSecrets"] == [{"name": "own-registry"}]
        assert pod["metadata"]["labels"].items() >= {**given["podLabels"], "team": "platform"}.items()
        assert pod["metadata"]["annotations"].items() >= given["podAnnotations"].items()
    agent, controller = objects.container("modelstage-node", "agent"), objects.container("modelstage-controller", "controller")
    assert agent["resources"] == values["node"]["resources"] and controller["resources"] == values["controller"]["resources"]
    assert agent["image"] == controller["image"] == "registry.example.com/modelstage/modelstage:1.2.3"
    assert agent["env"][-2:] == values["node"]["env"] and agent["ports"][0]["containerPort"] == 19810
    provisioner = objects.container("modelstage-controller", "csi-provisioner")
    assert (provisioner["image"], provisioner["imagePullPolicy"]) == ("localhost/csi-provisioner:local", "Never")
    assert "--v=5" in provisioner["args"] and "--http-endpoint=:19811" in provisioner["args"]
    assert provisioner["resources"] == values["controller"]["provisioner"]["resources"]
    spec = objects.pods()["modelstage-node"]["spec"]
    assert spec["hostNetwork"] is True and spec["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert spec["terminationGracePeriodSeconds"] == 60
    assert objects.get("DaemonSet", "modelstage-node")["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 2
    assert objects.get("Deployment", "modelstage-controller")["spec"]["replicas"] == 2


def tolerates(toleration, taint):
    """As the scheduler asks it."""
    return (toleration.get("effect") in (None, taint["effect"]) and toleration.get("key", taint["key"]) == taint["key"]
            and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")))


@pytest.mark.parametrize("tolerations", [[{"operator": "Exists"}], [{"key": "nvidia.com/gpu", "operator": "Exists"}], []], ids=json.dumps)
def test_agents_tolerate_the_taint_that_only_they_remove(tools, tolerations):
    def pod(**taint):
        return tools.render({"node": {"tolerations": tolerations}, "startupTaint": taint}).pods()["modelstage-node"]["spec"]

    for effect in ("NoSchedule", "NoExecute"):
        taint = {"key": "example.com/models-not-ready", "value": "x", "effect": effect}
        assert any(tolerates(t, taint) for t in pod(enabled=True, key=taint["key"])["tolerations"])
    assert pod(enabled=False).get("tolerations", []) == tolerations


def test_files_that_the_configuration_names_are_mounted(tools):
    objects = tools.render(EVERYTHING)
    agent = objects.container("modelstage-node", "agent")
    volumes = {v["name"]: v for v in objects.pods()["modelstage-node"]["spec"]["volumes"]}
    here = set()
    for source in volumes["config"]["projected"]["sources"]:
        here |= {f"/etc/modelstage/{i['path']}" for i in next(iter(source.values())).get("items", [])}
    assert here == {"/etc/modelstage/ca/corp.pem", "/etc/modelstage/ca/lab.pem", "/etc/modelstage/docker/config.json"}
    config = tools.plain(objects.get("ConfigMap", "modelstage-node")["data"]["config.yaml"])
    assert config["registries"][0]["caFile"] in here and config["credentials"]["dockerConfig"] in here
    shared = {m["mountPath"]: volumes[m["name"]]["hostPath"]["path"] for m in agent["volumeMounts"] if m["name"].startswith("host-")}
    assert shared == {p: p for p in ("/srv/models", "/etc/modelstage-providers")}
    assert all(m["readOnly"] for m in agent["volumeMounts"] if m["name"].startswith("host-"))


def test_an_image_by_digest_is_named_by_nothing_else(tools):
    objects = tools.render(REPOSITORY / "tests/deploy/values/digests.yaml")
    digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    assert objects.container("modelstage-node", "agent")["image"] == "registry.example.com/modelstage" + digest
    assert objects.container("modelstage-controller", "controller")["image"] == "registry.example.com/modelstage" + digest
    assert re.search(r"/csi-provisioner@sha256:fedc", objects.container("modelstage-controller", "csi-provisioner")["image"])


def checksums(objects):
    return {n: p["metadata"]["annotations"]["checksum/config"] for n, p in objects.pods().items()}


def test_a_change_of_configuration_restarts_whom_it_concerns(tools):
    before = checksums(tools.render({}))
    engine = checksums(tools.render({"config": {"engine": {"connections": 8}}}))
    assert engine["modelstage-node"] != before["modelstage-node"]
    assert engine["modelstage-controller"] == before["modelstage-controller"]
    log = checksums(tools.render({"config": {"log": {"level": "debug"}}}))
    assert all(log[name] != before[name] for name in before)


def test_a_change_of_the_warm_list_restarts_nobody(tools):
    before, after = tools.render({}), tools.render({"warm": [{"model": "r.io/m:1"}]})
    assert before.pods() == after.pods()
    config = tools.plain(after.get("ConfigMap", "modelstage-node")["data"]["config.yaml"])
    assert config["warm"] == [{"model": "r.io/m:1"}]


def test_annotations_of_the_user_do_not_win_over_ours(tools):
    mine = {"checksum/config": "mine", "kubectl.kubernetes.io/default-container": "mine", "a": "b"}
    objects = tools.render({"node": {"podAnnotations": mine}, "controller": {"podAnnotations": mine}})
    before = tools.render({}).pods()
    for name, pod in objects.pods().items():
        assert pod["metadata"]["annotations"] == {**before[name]["metadata"]["annotations"], "a": "b"}


@every_values_file
def test_selectors_never_change_and_match_their_pods(tools, values):
    objects = tools.render(values)
    for workload in [*objects.of("DaemonSet"), *objects.of("Deployment")]:
        component = workload["metadata"]["name"].removeprefix("modelstage-")
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector == {"app.kubernetes.io/name": "modelstage", "app.kubernetes.io/component": component}
        assert workload["spec"]["template"]["metadata"]["labels"].items() >= selector.items()


def test_labels_of_the_user_do_not_win_over_the_selectors(tools):
    mine = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/component": "mine", "a": "b"}
    objects = tools.render({"commonLabels": mine, "node": {"podLabels": mine}})
    labels = objects.pods()["modelstage-node"]["metadata"]["labels"]
    assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/component"], labels["a"]) == ("modelstage", "node", "b")


@every_values_file
def test_objects_lie_in_the_namespace_of_the_release(tools, values):
    objects = tools.render(values)
    for o in objects:
        assert o["metadata"]["labels"]["app.kubernetes.io/instance"] == "some-release"
        assert o["metadata"].get("namespace") == (None if o["kind"] in CLUSTER_WIDE else NAMESPACE), o["kind"]
    accounts = {a["metadata"]["name"] for a in objects.of("ServiceAccount")}
    for binding in [*objects.of("ClusterRoleBinding"), *objects.of("RoleBinding")]:
        for subject in binding["subjects"]:
            assert subject["namespace"] == NAMESPACE and subject["name"] in accounts


def test_a_budget_only_where_it_does_not_keep_a_node_from_being_drained(tools):
    assert not tools.render({}).of("PodDisruptionBudget")
    assert tools.render({"controller": {"replicas": 2}}).get("PodDisruptionBudget", "modelstage-controller")["spec"]["maxUnavailable"] == 1


# ---- storage classes ----

def test_a_class_records_what_its_values_say(tools):
    objects = tools.render(EVERYTHING)
    llama = objects.get("StorageClass", "check-llama")
    assert llama["parameters"] == {
        "model": "registry.example.com/models/llama:1", "pullPolicy": "Always", "root": "weights", "platform": "linux/arm64",
        "include": "*.safetensors,*.json", "exclude": "original/**",
        "csi.storage.k8s.io/node-publish-secret-name": "${pvc.annotations['example.com/pull-secret']}",
        "csi.storage.k8s.io/node-publish-secret-namespace": "platform"}
    assert (llama["provisioner"], llama["reclaimPolicy"], llama["volumeBindingMode"]) == ("csi.modelstage.io", "Retain", "WaitForFirstConsumer")
    assert llama["metadata"]["annotations"] == {"example.com/owner": "platform", "storageclass.kubernetes.io/is-default-class": "true"}
    assert objects.get("StorageClass", "check-team")["parameters"] == {
        "modelstage.io/allow": "registry.example.com/team/**,registry.example.com/models/*",
        "csi.storage.k8s.io/node-publish-secret-name": "pull-secret",
        "csi.storage.k8s.io/node-publish-secret-namespace": "${pvc.namespace}"}
    generic = objects.get("StorageClass", "modelstage")
    assert "parameters" not in generic and (generic["reclaimPolicy"], generic["volumeBindingMode"]) == ("Delete", "Immediate")


def test_without_a_controller_there_is_no_class_that_nobody_serves(tools):
    objects = tools.render(NODE_ONLY)
    assert not objects.of("StorageClass") and not objects.of("Deployment")
    assert {a["metadata"]["name"] for a in objects.of("ServiceAccount")} == {"modelstage-node"}


# ---- rights ----

def rules_of(objects):
    return {(role["metadata"]["name"].removeprefix("modelstage-"), role["kind"], group, resource, verb)
            for role in [*objects.of("ClusterRole"), *objects.of("Role")] for rule in role["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


@every_values_file
def test_nobody_reads_secrets_or_everything(tools, values):
    for _, _, group, resource, verb in rules_of(tools.render(values)):
        assert "*" not in (group, resource, verb) and resource.split("/")[0] != "secrets"
        assert verb not in ("impersonate", "escalate", "bind")


def test_rights_are_those_of_the_documentation(tools):
    page = (REPOSITORY / "docs/kubernetes.md").read_text()
    documented = set()
    for who, kind, group, resource, verbs in re.findall(r"^\| (node|controller) \| (\w+) \| `([^`]*)` \| `([^`]+)` \| ([\w, ]+) \|", page, re.M):
        documented |= {(who, kind, group, resource, verb.strip()) for verb in verbs.split(",")}
    assert documented == rules_of(tools.render({})) == rules_of(tools.render(EVERYTHING))


def test_an_agent_may_only_what_it_needs(tools):
    def rights(values):
        return {(resource, verb) for who, _, _, resource, verb in rules_of(tools.render(values)) if who == "node"}

    assert rights({"startupTaint": {"enabled": False}}) == {("events", "create")}
    assert rights({"events": False}) == {("nodes", "get"), ("nodes", "patch")}
    assert rights({"events": False, "startupTaint": {"enabled": False}, "nodeLabels": "nfd"}) == set()
    assert rights(NODE_ONLY) == set()


def test_an_agent_that_asks_for_nothing_has_no_token(tools):
    objects = tools.render(NODE_ONLY)
    assert objects.pods()["modelstage-node"]["spec"]["automountServiceAccountToken"] is False
    assert not objects.of("ClusterRoleBinding")
    config = tools.plain(objects.get("ConfigMap", "modelstage-node")["data"]["config.yaml"])
    assert config["kubernetes"] == {"events": "off", "startupTaint": "", "labels": "none", "serviceAccount": "",
                                    "nfdDir": "/etc/kubernetes/node-feature-discovery/features.d"}
    assert tools.render({}).pods()["modelstage-node"]["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("values", [{}, {"nodeLabels": "node"}, {"startupTaint": {"enabled": False}, "nodeLabels": "node"}], ids=json.dumps)
def test_who_may_patch_nodes_is_held_to_its_own_by_a_policy(tools, values):
    objects = tools.render(values)
    policy = objects.get("ValidatingAdmissionPolicy", "modelstage-node")["spec"]
    assert policy["failurePolicy"] == "Fail"
    assert policy["matchConditions"][0]["expression"] == f'request.userInfo.username == "system:serviceaccount:{NAMESPACE}:modelstage-node"'
    binding = objects.get("ValidatingAdmissionPolicyBinding", "modelstage-node")["spec"]
    assert binding == {"policyName": "modelstage-node", "validationActions": ["Deny"]}


def test_who_may_send_events_is_held_to_its_own_by_a_policy(tools):
    objects = tools.render({"startupTaint": {"enabled": False}})
    policy = objects.get("ValidatingAdmissionPolicy", "modelstage-node-events")["spec"]
    assert policy["failurePolicy"] == "Fail"
    assert policy["matchConditions"][0]["expression"] == f'request.userInfo.username == "system:serviceaccount:{NAMESPACE}:modelstage-node"'
    assert objects.get("ValidatingAdmissionPolicyBinding", "modelstage-node-events")["spec"]["policyName"] == "modelstage-node-events"
    assert [p["metadata"]["name"] for p in objects.of("ValidatingAdmissionPolicy")] == ["modelstage-node-events"]
    assert "modelstage-node-events" not in json.dumps(tools.render({"events": False}))


def test_no_policy_where_there_is_nothing_to_hold(tools):
    assert not tools.render(NODE_ONLY).of("ValidatingAdmissionPolicy")
    assert not tools.render({"admissionPolicy": {"enabled": False}}).of("ValidatingAdmissionPolicy")


def test_openshift_gets_its_constraints_only_there(tools):
    assert not [b for b in tools.render({}).of("RoleBinding") if "openshift" in b["roleRef"]["name"]]
    binding = tools.render(EVERYTHING).get("RoleBinding", "modelstage-node-privileged")
    assert binding["roleRef"]["name"] == "system:openshift:scc:privileged"


# ---- switches ----

def test_what_is_behind_a_switch_is_off_by_default(tools):
    kinds = {o["kind"] for o in tools.render({})}
    assert not kinds & {"PodMonitor", "PrometheusRule", "NetworkPolicy", "PodDisruptionBudget"}
    assert len(tools.render({}).of("ConfigMap")) == 2
    assert {o["kind"] for o in tools.render(EVERYTHING)} >= {"PodMonitor", "PrometheusRule", "NetworkPolicy", "PodDisruptionBudget"}


def test_the_network_policy_lets_in_what_it_is_told(tools):
    policy = tools.render(EVERYTHING).get("NetworkPolicy", "modelstage")["spec"]
    assert policy["ingress"][0]["from"] == tools.plain(EVERYTHING)["networkPolicy"]["metricsFrom"]
    assert policy["ingress"][0]["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert "from" not in tools.render({"networkPolicy": {"enabled": True}}).get("NetworkPolicy", "modelstage")["spec"]["ingress"][0]


def test_chart_and_program_have_one_version(tools):
    version = re.search(r"^project\(modelstage VERSION ([\d.]+)", (REPOSITORY / "CMakeLists.txt").read_text(), re.M)[1]
    chart = tools.plain(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == version
