# SPDX-License-Identifier: Apache-2.0
"""Every example of deploy/examples on the real API server; those of KServe under its own controller, one of them answering."""
import json
import pathlib
import re

import objects
import pytest
from harness.process import wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "deploy/examples").glob("*.yaml"))
MODEL = "registry.example.com/models/llama:1"
NEEDS = {"InferenceService": "inferenceservices.serving.kserve.io", "ClusterStorageContainer": "clusterstoragecontainers.serving.kserve.io",
         "NodePool": "nodepools.karpenter.sh", "EC2NodeClass": "ec2nodeclasses.karpenter.k8s.aws"}
EXPECTED = json.loads((REPOSITORY / "tests/e2e/predictor/expected.json").read_text())


def kinds(text):
    return set(re.findall(r"^kind: (\S+)", text, re.M))


def require(cluster, text):
    missing = [NEEDS[k] for k in kinds(text) & NEEDS.keys() if not cluster.has_kind(NEEDS[k])]
    if missing:
        pytest.skip(f"the cluster has no {missing[0]}")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.stem)
def test_example_is_accepted(driver, cluster, space, example):
    """As it stands, strictly checked, but for the namespaces that it names."""
    text = example.read_text()
    require(cluster, text)
    where = space()
    for name in set(re.findall(r"namespace: ([a-z0-9-]+)", text)):
        text = text.replace(f"namespace: {name}", f"namespace: {where}")
    done = cluster.run("kubectl", "-n", where, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert "arning" not in done.stderr, done.stderr


@pytest.fixture
def runtime(cluster, option):
    """Makes a KServe runtime for the examples' model format: the predictor that really loads the model."""
    if not cluster.has_kind(NEEDS["InferenceService"]):
        pytest.skip("the cluster has no KServe")
    if not option("--predictor-image"):
        pytest.skip("no predictor image: --predictor-image")

    def make(where):
        container = {"name": "kserve-container", "image": option("--predictor-image"), "imagePullPolicy": "IfNotPresent",
                     "args": ["--model_name={{.Name}}", "--model_dir=/mnt/models", "--http_port=8080"],
                     "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                     "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 1},
                     "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}
        cluster.apply({"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "minilm"},
                       "spec": {"supportedModelFormats": [{"name": "huggingface", "autoSelect": True}], "containers": [container]}},
                      namespace=where)
    return make


def served(cluster, where, service, sentence, tools):
    """The embedding that the InferenceService gives to a client in the cluster."""
    wait_until(lambda: ready(cluster, where, service), f"{service} is Ready", 180)
    cluster.apply(objects.pod("client", tools, {"name": "model", "emptyDir": {}}), namespace=where)
    cluster.wait_ready(where, "client")
    url = f"http://{service}-predictor.{where}.svc/v1/models/{service}:predict"
    body = json.dumps({"instances": [sentence]})
    answer = cluster.exec(where, "client", "/bin/busybox", "wget", "-q", "-O", "-", "--post-data", body, url).stdout
    return json.loads(answer)["predictions"][0]


def ready(cluster, where, service):
    found = cluster.get("-n", where, "inferenceservice", service)
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found.get("status", {}).get("conditions", []))


def assert_expected(embedding):
    expected = EXPECTED["sentences"][0]["first"]
    assert len(embedding) == 384
    assert max(abs(a - b) for a, b in zip(embedding, expected)) < 1e-3


@pytest.mark.parametrize("name, service", [("kserve-claim", "llama"), ("kserve-inline", "llama-inline"),
                                           ("kserve-storage-container", "llama-fetched")])
def test_kserve_example_answers(driver, cluster, models, tools, space, runtime, option, name, service):
    text = (REPOSITORY / f"deploy/examples/{name}.yaml").read_text()
    require(cluster, text)
    where = space()
    runtime(where)
    text = text.replace(MODEL, models.ref("registry", "models/all-minilm-l6-v2", "1"))
    text = text.replace("localhost/modelstage:0.1.0", option("--image")).replace("fetch, --force]", "fetch, --force, --plain-http]")
    try:
        cluster.kubectl("-n", where, "apply", "-f", "-", stdin=text)
        assert_expected(served(cluster, where, service, EXPECTED["sentences"][0]["text"], tools))
    finally:
        if "ClusterStorageContainer" in kinds(text):
            cluster.delete("clusterstoragecontainer", "modelstage")


def test_init_container_without_the_driver(driver, cluster, models, tools, space, option, golden):
    where = space("restricted")
    text = (REPOSITORY / "deploy/examples/init-container.yaml").read_text()
    text = text.replace(MODEL, models.ref("registry", "models/small", "plain")).replace("localhost/modelstage:0.1.0", option("--image"))
    text = text.replace("fetch, --force,", "fetch, --force, --plain-http,")
    text = re.sub(r"image: vllm/\S+\n\s+args: \[.*\]", f"image: {tools}\n      command: [/bin/busybox, sleep, '3600']", text)
    text = re.sub(r"\n +resources:\n +limits: \{nvidia.com/gpu.*\}", "", text)
    cluster.kubectl("-n", where, "apply", "-f", "-", stdin=text)
    cluster.wait_ready(where, "llama-fetched")
    script = "cd /models && /bin/busybox find . -type f -exec /bin/busybox sha256sum {} +"
    lines = cluster.exec(where, "llama-fetched", "/bin/busybox", "sh", "-c", script).stdout.splitlines()
    got = {path.removeprefix("./"): digest for digest, path in (line.split("  ", 1) for line in lines)}
    assert got == golden("images", "plain")


def test_static_volumes_of_two_namespaces_share_one_copy(driver, cluster, models, node, tools, space, sums, golden):
    one, two = space(), space()
    text = (REPOSITORY / "deploy/examples/static-pv.yaml").read_text()
    text = text.replace("team-a", one).replace("team-b", two).replace(MODEL, models.ref("registry", "models/kit", "1"))
    try:
        cluster.kubectl("apply", "-f", "-", stdin=text)
        before = driver.requests()
        for where in (one, two):
            cluster.apply(objects.pod("p", tools, objects.claim_volume("llama"), node), namespace=where)
            cluster.wait_ready(where, "p")
            assert sums(where, "p") == golden("modelkits", "gzip")
        assert driver.requests()["miss"] - before["miss"] <= 1
    finally:
        cluster.kubectl("-n", one, "delete", "pod", "p", check=False)
        cluster.kubectl("-n", two, "delete", "pod", "p", check=False)
        cluster.delete("pv", f"llama-{one}", f"llama-{two}", wait=False)
