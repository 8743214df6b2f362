# SPDX-License-Identifier: Apache-2.0
"""The chart rendered by the real helm, read by tests/deploy/strict: no YAML parser, no cluster."""
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import api_server  # noqa: E402
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy/chart/modelstage"
EXAMPLES = sorted((REPOSITORY / "deploy/examples").glob("*.yaml"))
VALUES = sorted((REPOSITORY / "tests/deploy/values").glob("*.yaml"))
NAMESPACE = "some-namespace"
PROGRAMS = os.environ.get("MS_CLUSTER_PROGRAMS", "/var/cache/modelstage-cluster/bin")
KUBECONFIG = os.environ.get("MS_KUBECONFIG") or "/var/lib/modelstage-cluster/kubeconfig"


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=120, **more)


class Tools:
    def __init__(self, folder):
        self.folder = folder
        self.helm, self.strict_program = os.environ["MS_HELM"], os.environ["MS_STRICT"]
        self.rendered = {}

    def file_of(self, values):
        """A values file as it is, or a dict written to one (JSON is YAML)."""
        if not isinstance(values, dict):
            return values
        path = self.folder / "values.json"
        path.write_text(json.dumps(values))
        return path

    def template(self, values, *more):
        # --kube-version: a helm that was built from its module says it is for 1.20.
        return run(self.helm, "template", "some-release", CHART, "-n", NAMESPACE, "--kube-version", "1.37.0",
                   "-f", self.file_of(values), *more)

    def manifests(self, values, *more):
        done = self.template(values, *more)
        assert done.returncode == 0 and not done.stderr, done.stderr
        path = self.folder / "manifests.yaml"
        path.write_text(done.stdout)
        return path

    def render(self, values, *more):
        """The objects of the chart; each a Rendered."""
        key = (str(values) if not isinstance(values, dict) else json.dumps(values), more)
        if key not in self.rendered:
            self.rendered[key] = Rendered(self.strict(self.manifests(values, *more)))
        return self.rendered[key]

    def strict(self, *files):
        done = run(self.strict_program, *files)
        assert done.returncode == 0, done.stderr
        return [d["object"] for d in json.loads(done.stdout)]

    def plain(self, path_or_text):
        path = path_or_text
        if isinstance(path_or_text, str):
            path = self.folder / "plain.yaml"
            path.write_text(path_or_text)
        done = run(self.strict_program, "-plain", path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[0]["object"]

    def promql(self, texts):
        done = run(self.strict_program, "-promql", input=json.dumps(texts))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Rendered(list):
    def of(self, kind):
        return [o for o in self if o["kind"] == kind]

    def get(self, kind, name):
        found = [o for o in self.of(kind) if o["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0]

    def pods(self):
        return {o["metadata"]["name"]: o["spec"]["template"] for o in self if o["kind"] in ("DaemonSet", "Deployment")}

    def container(self, workload, name):
        return next(c for c in self.pods()[workload]["spec"]["containers"] if c["name"] == name)


class Cluster:
    def __init__(self, kubectl, kubeconfig, folder):
        self.kubectl, self.kubeconfig, self.folder = kubectl, kubeconfig, folder

    def run(self, *args, kubeconfig=None, **more):
        return run(self.kubectl, "--kubeconfig", kubeconfig or self.kubeconfig, *args, **more)

    def do(self, *args, **more):
        done = self.run(*args, **more)
        assert done.returncode == 0, f"kubectl {args}: {done.stderr}"
        return done.stdout

    def get(self, *args):
        return json.loads(self.do("get", *args, "-o", "json"))

    def apply(self, *objects, namespace):
        self.do("apply", "-n", namespace, "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def wait_for_crds(self):
        """Until all of them are served. `kubectl wait` fails on one that has no conditions yet."""
        def is_established(crd):
            return any(c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or [])

        end = time.monotonic() + 60
        while not all(is_established(crd) for crd in self.get("crd")["items"]):
            assert time.monotonic() < end, "the server takes its CRDs for what they are"
            time.sleep(0.1)

    def kinds(self):
        return {line.split()[-1] for line in self.do("api-resources", "--no-headers").splitlines()}

    def with_token(self, token):
        """A kubeconfig that is nobody but the token: a client certificate would win over it."""
        config = json.loads(self.do("config", "view", "--raw", "--minify", "-o", "json"))
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        path = self.folder / f"token-{secrets.token_hex(4)}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    return Tools(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="session")
def metrics():
    """Every series that the daemon has, without prefix: its labels. From base/metrics.def."""
    found = {}
    text = (REPOSITORY / "base/metrics.def").read_text()
    for name, kind, labels in re.findall(r'^X\(\w+, "(\w+)", METRIC_(\w+), "([^"]*)"', text, re.M):
        for suffix in ("_bucket", "_sum", "_count") if kind == "HISTOGRAM" else ("",):
            found[f"modelstage_{name}{suffix}"] = set(labels.split()) | ({"le"} if suffix == "_bucket" else set())
    assert len(found) > 20
    return found


# ---- API servers ----

@pytest.fixture(scope="session")
def own_server(tmp_path_factory, tools):
    """One that is nobody's but ours, if its programs are built."""
    if not api_server.can_start(PROGRAMS):
        pytest.skip(f"shared/cluster's programs are not built: no kube-apiserver in {PROGRAMS}")
    folder = tmp_path_factory.mktemp("server")
    with api_server.running(PROGRAMS, folder) as kubeconfig:
        found = Cluster(f"{PROGRAMS}/kubectl", kubeconfig, folder)
        kserve = pathlib.Path(PROGRAMS) / "kserve-charts/kserve-crd"
        if kserve.exists():
            found.do("apply", "--server-side", "-f", "-", input=run(tools.helm, "template", "crd", kserve).stdout)
            found.wait_for_crds()
        yield found


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory):
    """
    Of MS_KUBECONFIG; else of shared/cluster if it is up; else our own server. KUBECONFIG is not looked at: what a
    person works with is not to be tried on.
    """
    kubectl = os.environ.get("MS_KUBECTL")
    if kubectl and pathlib.Path(KUBECONFIG).exists():
        found = Cluster(kubectl, KUBECONFIG, tmp_path_factory.mktemp("cluster"))
        if found.run("get", "nodes", "--request-timeout=5s").returncode == 0:
            return found
        assert "MS_KUBECONFIG" not in os.environ, f"the cluster of {KUBECONFIG} is not up"
    return request.getfixturevalue("own_server")
