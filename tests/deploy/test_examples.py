# SPDX-License-Identifier: Apache-2.0
"""The examples: fields that exist, names that fit the chart, pods that restricted namespaces admit."""
import json
import re

import pytest

from conftest import CHART, EXAMPLES, REPOSITORY

NAMES = {"kserve-claim", "kserve-inline", "vllm", "static-pv", "init-container", "kserve-storage-container", "karpenter-nodepool",
         "private-registry"}
ATTRIBUTES = {"model", "pullPolicy", "root", "include", "exclude", "platform"}
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)


def pod_specs(objects):
    for o in objects:
        if o["kind"] == "Pod":
            yield o["kind"], o["spec"]
        elif o["kind"] == "Deployment":
            yield o["kind"], o["spec"]["template"]["spec"]
        elif o["kind"] == "InferenceService":
            yield o["kind"], o["spec"]["predictor"]


def test_the_eight_are_there_and_documented():
    assert {p.stem for p in EXAMPLES} == NAMES
    page = (REPOSITORY / "docs/kubernetes.md").read_text()
    for path in EXAMPLES:
        assert f"../deploy/examples/{path.name}" in page, path.name


@every_example
def test_three_lines_say_when_to_use_it(path):
    lines = path.read_text().splitlines()
    assert [line.startswith("# ") for line in lines[:4]] == [True, True, True, False]
    assert all(len(line) <= 120 for line in lines), [line for line in lines if len(line) > 120]


@every_example
def test_every_field_exists(tools, path):
    objects = tools.strict(path)
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert names and len(set(names)) == len(names)


@every_example
def test_volumes_ask_for_what_the_driver_knows(tools, path):
    objects = tools.strict(path)
    csi = [v["csi"] for _, spec in pod_specs(objects) for v in spec.get("volumes", []) if "csi" in v]
    csi += [o["spec"]["csi"] for o in objects if o["kind"] == "PersistentVolume"]
    for volume in csi:
        assert volume["driver"] == "csi.modelstage.io" and volume["readOnly"] is True
        assert "model" in volume["volumeAttributes"] and set(volume["volumeAttributes"]) <= ATTRIBUTES
    handles = [v["volumeHandle"] for v in csi if "volumeHandle" in v]
    assert len(set(handles)) == len(handles)
    for o in objects:
        if o["kind"] == "PersistentVolumeClaim" and o["spec"]["storageClassName"]:
            assert set(o["metadata"]["annotations"]) == {"modelstage.io/model"}


@every_example
def test_claims_name_a_class_that_the_chart_or_the_example_makes(tools, path):
    objects = tools.strict(path)
    classes = {c["metadata"]["name"] for c in tools.render({}).of("StorageClass")}
    classes |= {o["metadata"]["name"] for o in objects if o["kind"] == "StorageClass"}
    for o in objects:
        if o["kind"] == "PersistentVolumeClaim":
            assert o["spec"]["storageClassName"] in classes | {""}
            assert o["spec"]["accessModes"] == ["ReadOnlyMany"]


def complaints(spec):
    """What Pod Security "restricted" says; field by field as its documentation lists them."""
    pod = spec.get("securityContext", {})
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}:
            yield f"volume {kinds}"
    if pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    for c in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        context = c.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{c['name']}: escalation"
        if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
            yield f"{c['name']}: capabilities"
        if not (context.get("runAsNonRoot", pod.get("runAsNonRoot")) and context.get("runAsUser", pod.get("runAsUser")) != 0):
            yield f"{c['name']}: root"
        if any("hostPort" in p for p in c.get("ports", [])):
            yield f"{c['name']}: hostPort"


@every_example
def test_pods_are_admitted_where_pods_are_restricted(tools, path):
    for kind, spec in pod_specs(tools.strict(path)):
        if kind != "InferenceService":  # its containers are the runtime's
            assert not list(complaints(spec))


def lacks(spec, container):
    """What vLLM needs, as a user other than root and whatever its image says."""
    env = {e["name"]: e["value"] for e in container.get("env", [])}
    volumes = {v["name"]: v for v in spec.get("volumes", [])}
    writable = {m["mountPath"]: volumes[m["name"]].get("emptyDir") for m in container["volumeMounts"] if not m.get("readOnly")}
    if "nvidia.com/gpu" not in container.get("resources", {}).get("limits", {}):
        yield "a GPU"
    if writable.get("/tmp") is None or env.get("HOME") != "/tmp":
        yield "a home that it may write to"
    if not env.get("USER"):
        yield "a user's name"
    if (writable.get("/dev/shm") or {}).get("medium") != "Memory":
        yield "shared memory"


@pytest.mark.parametrize("path", [p for p in EXAMPLES if "vllm-openai" in p.read_text()], ids=lambda p: p.stem)
def test_vllm_has_what_it_starts_with(tools, path):
    servers = [(spec, c) for _, spec in pod_specs(tools.strict(path)) for c in spec["containers"] if "vllm-openai" in c["image"]]
    assert servers and not [missing for spec, c in servers for missing in lacks(spec, c)]


def test_pod_security_would_be_seen_broken(tools):
    spec = next(spec for _, spec in pod_specs(tools.strict(REPOSITORY / "deploy/examples/vllm.yaml")))
    for change in ({"securityContext": {}}, {"hostNetwork": True}, {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
                   {"containers": [{"name": "x"}]}):
        assert list(complaints({**spec, **change})), change


@every_example
def test_our_image_is_the_charts(tools, path):
    version = tools.plain(CHART / "Chart.yaml")["appVersion"]
    for image in re.findall(r"image: (\S*modelstage\S*)", path.read_text()):
        assert image == f"localhost/modelstage:{version}"


def test_the_node_pools_taint_is_the_one_that_agents_remove(tools):
    pool, = tools.strict(REPOSITORY / "deploy/examples/karpenter-nodepool.yaml")
    keys = {t["key"] for t in pool["spec"]["template"]["spec"]["startupTaints"]}
    config = tools.plain(tools.render({}).get("ConfigMap", "modelstage-node")["data"]["config.yaml"])
    assert keys == {config["kubernetes"]["startupTaint"]}


def test_the_class_with_a_secret_is_what_the_chart_makes_of_its_values(tools):
    text = (REPOSITORY / "deploy/examples/private-registry.yaml").read_text()
    values = json.loads(json.dumps(tools.plain(re.search(r"^# (storageClasses: \[.*\])\.$", text, re.M)[1] + "\n")))
    made = tools.render(values).of("StorageClass")
    assert len(made) == 1
    example = next(o for o in tools.strict(REPOSITORY / "deploy/examples/private-registry.yaml") if o["kind"] == "StorageClass")
    assert (made[0]["metadata"]["name"], made[0]["parameters"]) == (example["metadata"]["name"], example["parameters"])


def test_kserve_hands_our_container_an_address_that_it_understands(tools):
    container, service = tools.strict(REPOSITORY / "deploy/examples/kserve-storage-container.yaml")
    uri = service["spec"]["predictor"]["model"]["storageUri"]
    prefixes = [f["prefix"] for f in container["spec"]["supportedUriFormats"]]
    assert any(uri.startswith(p) for p in prefixes) and not uri.startswith("oci+")
    assert container["spec"]["container"]["name"] == "storage-initializer"
    assert container["spec"]["container"]["command"][:2] == ["/usr/bin/modelstage", "fetch"]


# ---- docs/kubernetes.md ----

def blocks(kind):
    page = (REPOSITORY / "docs/kubernetes.md").read_text()
    found = re.findall(rf"^```{kind}\n(.*?)^```", page, re.M | re.S)
    assert found
    return [pytest.param(text, id=str(i + 1)) for i, text in enumerate(found)]


@pytest.mark.parametrize("text", blocks("yaml values"))
def test_documented_values_render(tools, text):
    path = tools.folder / "documented.yaml"
    path.write_text(text)
    values = tools.plain(path)
    assert tools.render(values) != tools.render({})


@pytest.mark.parametrize("text", blocks("yaml manifest"))
def test_documented_manifests_have_only_fields_that_exist(tools, text):
    path = tools.folder / "documented.yaml"
    path.write_text(text)
    assert tools.strict(path)
