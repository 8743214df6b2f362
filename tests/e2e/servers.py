# SPDX-License-Identifier: Apache-2.0
"""
What pods pull from, in a namespace of its own:

  registry   Debian's docker-registry with the real model and the golden artifacts
  faults     fault-registry: big synthetic models, paced where a test asks for it
  private    fault-registry that wants a password

All speak plain HTTP on port 5000 of their service's name, which the agent resolves like every pod.
"""
import json

import objects

MIB = 1 << 20
BIG = 2 << 30
SYNTHETIC = {
    "big/plain": f"tar:{BIG}:4",
    "big/slow": f"tar:{384 * MIB}:4",
    "big/read": f"tar:{64 * MIB}:8",
    **{f"many/{i}": f"tar:{48 * MIB}:3" for i in range(5)},
}
PRIVATE = {"secret/model": f"tar:{16 * MIB}:2"}
USER, PASSWORD = "puller", "canary-5f2c9d"


class Servers:
    def __init__(self, cluster, namespace, node, image):
        self.cluster, self.namespace, self.node, self.image = cluster, namespace, node, image

    def host(self, name):
        return f"{name}.{self.namespace}.svc:5000"

    def hosts(self):
        return [self.host(name) for name in ("registry", "faults", "private")]

    def ref(self, name, repository, tag="latest"):
        return f"{self.host(name)}/{repository}:{tag}"

    def start(self):
        self.cluster.make_namespace(self.namespace)
        self._server("registry", ["docker-registry", "serve", "/etc/registry.yml"])
        self._server("faults", self._faults(SYNTHETIC))
        self._server("private", self._faults(PRIVATE, "--auth", "basic", "--user", USER, "--password", PASSWORD))
        self.cluster.wait_ready(self.namespace, "registry", "faults", "private")

    def stop(self):
        self.cluster.delete("namespace", self.namespace)

    def _server(self, name, command):
        pod, service = objects.server(name, self.image, [], node=self.node)
        pod["spec"]["containers"][0]["command"] = [f"/bin/{command[0]}", *command[1:]]
        self.cluster.apply(pod, service, namespace=self.namespace)

    @staticmethod
    def _faults(synthetic, *more):
        args = ["fault-registry", "--listen", "0.0.0.0:5000", *more]
        for name, spec in synthetic.items():
            args += ["--synthetic", f"{name}={spec}"]
        return args

    # ---- fault-registry's own interface, asked from inside its pod

    def _ask(self, name, path, *args):
        url = f"http://127.0.0.1:5000{path}"
        return self.cluster.exec(self.namespace, name, "/bin/busybox", "wget", "-q", "-O", "-", *args, url).stdout

    def set(self, name, **knobs):
        """busybox's wget cannot PUT: the request is written by hand."""
        body = json.dumps(knobs)
        request = f"PUT /_knobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        script = "/bin/busybox printf '%s' \"$1\" | /bin/busybox nc 127.0.0.1 5000"
        answer = self.cluster.exec(self.namespace, name, "/bin/busybox", "sh", "-c", script, "sh", request).stdout
        assert " 200 " in answer.splitlines()[0], answer

    def files(self, name, repository):
        """{path: SHA-256} below the root that pods see."""
        files = json.loads(self._ask(name, f"/_files?repository={repository.replace('/', '%2F')}"))
        return {f["path"].removeprefix("models/"): f["sha256"] for f in files}

    def blob_bytes(self, name):
        """Bytes of blobs that were sent so far."""
        paths = json.loads(self._ask(name, "/_stats?brief"))["paths"]
        return sum(p["bytes"] for path, p in paths.items() if "/blobs/" in path)

    def blob_bytes_of(self, name, repository):
        paths = json.loads(self._ask(name, "/_stats?brief"))["paths"]
        return sum(p["bytes"] for path, p in paths.items() if path.startswith(f"/v2/{repository}/blobs/"))
