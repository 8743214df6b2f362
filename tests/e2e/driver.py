# SPDX-License-Identifier: Apache-2.0
"""The chart in the cluster, and the agent on the node of the tests."""
import json
import re
import tempfile
import time

import objects
from harness.process import wait_until
from kubernetes import DEADLINE

NAMESPACE, RELEASE, DRIVER = "modelstage", "modelstage", "csi.modelstage.io"
CACHE = "/var/lib/modelstage-e2e"  # on the node; not where an installation of the user would have its models
OURS = "modelstage-e2e"  # label of what these tests have made
LOCAL_PROVISIONER = "localhost/csi-provisioner:local"  # shared/cluster has it


class Driver:
    def __init__(self, cluster, node, chart, option, models):
        self.cluster, self.node, self.chart, self.option, self.models = cluster, node, chart, option, models
        self.ready_seconds = None

    # ---- life

    def values(self, image=None, **more):
        values = {"image": self._image(image or self.option("--image")), "cache": {"path": CACHE},
                  "config": {"registries": [{"host": host, "plainHttp": True} for host in self.models.hosts()],
                             "cache": {"minFree": "1%"}}}
        provisioner = self.option("--provisioner-image")
        if not provisioner and LOCAL_PROVISIONER in self.cluster.images_of(self.node):
            provisioner = LOCAL_PROVISIONER
        if provisioner:
            values["controller"] = {"provisioner": {"image": self._image(provisioner)}}
        values.update(more)
        return values

    @staticmethod
    def _image(text):
        repository, tag = text.rsplit(":", 1)
        return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}

    def _helm(self, verb, *args, values=None):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(values, f)
            f.flush()
            return self.cluster.helm(verb, RELEASE, str(self.chart), "-n", NAMESPACE, "-f", f.name, *args)

    def refuse_to_replace(self):
        """An installation that somebody uses is not ours to take away."""
        if self.cluster.find("csidriver", DRIVER) is None:
            return
        namespace = self.cluster.find("namespace", NAMESPACE)
        if namespace is None or OURS not in namespace["metadata"].get("labels", {}):
            raise AssertionError(f"this cluster has {DRIVER} already, and not from these tests: uninstall it first, or use another cluster")

    def install(self, **more):
        self.refuse_to_replace()
        self.cluster.make_namespace(NAMESPACE)
        self.cluster.kubectl("label", "namespace", NAMESPACE, f"{OURS}=driver", "--overwrite")
        began = time.monotonic()
        self._helm("upgrade", "--install", "--wait", "--timeout", "120s", values=self.values(**more))
        self.ready_seconds = time.monotonic() - began

    def upgrade(self, image=None, **more):
        self._helm("upgrade", "--wait", "--timeout", "180s", values=self.values(image, **more))

    def rollback(self):
        self.cluster.helm("rollback", RELEASE, "-n", NAMESPACE, "--wait", "--timeout", "180s")

    def uninstall(self):
        self.cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--wait", "--ignore-not-found")
        self.cluster.delete("namespace", NAMESPACE)

    def wipe_cache(self, image):
        """What the models leave on the node."""
        shell = objects.host_shell("wipe", image, self.node)
        self.cluster.apply(shell, namespace=self.models.namespace)
        self.cluster.wait_ready(self.models.namespace, "wipe")
        self.cluster.exec(self.models.namespace, "wipe", "/bin/busybox", "rm", "-rf", "/host" + CACHE)
        self.cluster.delete("-n", self.models.namespace, "pod", "wipe")

    # ---- the agent

    def agents(self):
        selector = "app.kubernetes.io/name=modelstage,app.kubernetes.io/component=node"
        return self.cluster.get("-n", NAMESPACE, "pods", "-l", selector, f"--field-selector=spec.nodeName={self.node}")["items"]

    def agent(self):
        """Name of the agent that is Ready on the node; waits for it."""
        def ready():
            for pod in self.agents():
                conditions = pod["status"].get("conditions", [])
                if "deletionTimestamp" not in pod["metadata"] and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                    return pod["metadata"]["name"]
            return None
        return wait_until(ready, "an agent is Ready on the node", DEADLINE)

    def cli(self, *args, check=True):
        return self.cluster.exec(NAMESPACE, self.agent(), "modelstage", *args, container="agent", check=check)

    def forget(self, *references):
        """Removes models, so that the next pod is a miss again."""
        for reference in references:
            self.cli("rm", reference, check=False)

    def metrics(self):
        """{'name{labels}': value} of the agent on the node."""
        text = self.cluster.proxy(NAMESPACE, self.agent(), 9810, "/metrics")
        return {name: float(value) for name, value in re.findall(r"^(modelstage_\S+) (\S+)$", text, re.M)}

    def requests(self):
        """{"hit": n, "miss": n, "joined": n}"""
        metrics = self.metrics()
        return {r: metrics.get(f'modelstage_cache_requests_total{{result="{r}"}}', 0) for r in ("hit", "miss", "joined")}

    def memory_peak(self, host):
        """Most bytes that the agent's container ever had, as its memory cgroup counts them; host: a shell on the node."""
        uid = self.agents()[0]["metadata"]["uid"]
        names = "memory.peak memory.max_usage_in_bytes"
        script = f"""for n in {names}; do /bin/busybox find /host/sys/fs/cgroup -path '*{uid}/*' -name $n -exec cat {{}} + 2>/dev/null; done
                     for n in {names}; do /bin/busybox find /host/sys/fs/cgroup -path '*{uid.replace("-", "_")}*' -name $n -exec cat {{}} + 2>/dev/null; done"""
        return max(int(line) for line in host(script).split())

    def log(self, *args):
        return self.cluster.logs(NAMESPACE, self.agent(), "-c", "agent", *args)
