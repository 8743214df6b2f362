# SPDX-License-Identifier: Apache-2.0
"""kubectl and helm for the tests: what they print, what they warn of, and waiting for what a cluster does in its own time."""
import json
import os
import subprocess
import sys

from harness.process import wait_until

DEADLINE = float(os.environ.get("MS_E2E_DEADLINE", "120"))  # seconds; how long the cluster may take for one step


class CommandFailed(AssertionError):
    pass


class Cluster:
    """The cluster of KUBECONFIG. What the API server warns of when something is applied is kept in `warnings`."""

    def __init__(self):
        self.warnings = []

    def run(self, *args, stdin=None, check=True, deadline=600):
        done = subprocess.run([str(a) for a in args], input=stdin, text=True, capture_output=True, timeout=deadline, check=False)
        if "apply" in args or args[0] == "helm":  # others warn of what tests do on purpose, such as deleting by force
            self.warnings += [f"{' '.join(map(str, args[:4]))}: {line}" for line in done.stderr.splitlines()
                              if line.lower().startswith("warning")]
        if check and done.returncode != 0:
            raise CommandFailed(f"{' '.join(map(str, args))}: exit status {done.returncode}\n{done.stderr}{done.stdout}")
        return done

    def kubectl(self, *args, **options):
        return self.run("kubectl", *args, **options).stdout

    def helm(self, *args, **options):
        return self.run("helm", *args, **options).stdout

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def find(self, *args):
        """The object, or None when it is not there."""
        text = self.kubectl("get", *args, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def apply(self, *objects, namespace=None):
        where = ["-n", namespace] if namespace else []
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", *where, "-f", "-", stdin=document)

    def delete(self, *args, wait=True, **options):
        self.kubectl("delete", *args, "--ignore-not-found", f"--wait={str(wait).lower()}", **options)

    # ---- namespaces and pods

    def make_namespace(self, name, level="privileged"):
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def pod(self, namespace, name):
        return self.find("-n", namespace, "pod", name)

    def wait_ready(self, namespace, *names, deadline=DEADLINE):
        try:
            self.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"--timeout={deadline:.0f}s", *[f"pod/{n}" for n in names],
                         deadline=deadline + 60)
        except CommandFailed as e:
            described = "\n".join(self.kubectl("-n", namespace, "describe", "pod", n, check=False)[-3000:] for n in names[:3])
            raise CommandFailed(f"{e}\n{described}") from None

    def events(self, namespace, pod):
        """[(type, reason, message)] of a pod, as `kubectl describe` shows them."""
        found = self.get("-n", namespace, "events", f"--field-selector=involvedObject.kind=Pod,involvedObject.name={pod}")["items"]
        return [(e["type"], e["reason"], e["message"]) for e in found]

    def wait_event(self, namespace, pod, part, deadline=DEADLINE):
        """The message of the first event of the pod that has `part` in it."""
        return wait_until(lambda: next((m for _, _, m in self.events(namespace, pod) if part in m), None),
                          f"an event of {namespace}/{pod} says {part!r}", deadline)

    def logs(self, namespace, pod, *args):
        return self.kubectl("-n", namespace, "logs", pod, *args)

    def exec(self, namespace, pod, *command, container=None, check=True):
        which = ["-c", container] if container else []
        return self.run("kubectl", "-n", namespace, "exec", pod, *which, "--", *command, check=check)

    def proxy(self, namespace, pod, port, path):
        """GET http://POD:PORT/PATH through the API server."""
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}")

    def nodes(self):
        """Names of the nodes that take pods."""
        return [n["metadata"]["name"] for n in self.get("nodes")["items"] if not n["spec"].get("unschedulable")
                and any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"])]

    def images_of(self, node):
        return {name for image in self.get("node", node)["status"].get("images", []) for name in image.get("names") or []}

    def has_kind(self, resource):
        return self.run("kubectl", "get", resource, "-A", "-o", "name", check=False).returncode == 0


def say(text):
    print(text, file=sys.stderr, flush=True)
