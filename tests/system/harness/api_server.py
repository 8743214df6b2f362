# SPDX-License-Identifier: Apache-2.0
"""A small Kubernetes API server: objects by path, over TLS, for tokens that it knows; with faults on demand."""
import collections
import http.server
import json
import socket
import ssl
import struct
import subprocess
import threading

CLAIM = "/api/v1/namespaces/{}/persistentvolumeclaims/{}"
VOLUME = "/api/v1/persistentvolumes/{}"
NODE = "/api/v1/nodes/{}"
REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests"}


def status(code, message, **details):
    """The Status object of a refusal."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
            "reason": REASONS.get(code, "InternalError"), "details": details}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def do_GET(self):  # pylint: disable=invalid-name
        self.server.api.answer(self)

    do_POST = do_PATCH = do_GET

    def send(self, code, body, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):  # a client that goes away is no error of the test
        pass


class ApiServer:
    """`account` is the folder that Kubernetes would mount into the pod. A fault is used up by one request:
    {"status": 429, "headers": […], "body": …}, {"reset": True}, {"silent": True}, or {"late": seconds}: then as if there were no fault."""

    def __init__(self, folder):
        self.folder, self.account = folder, folder / "serviceaccount"
        self.account.mkdir()
        self.objects, self.tokens, self.faults, self.requests = {}, {"token-one"}, collections.deque(), []
        self.calls, self.events, self.forbidden = [], [], set()  # (method, path) of all, what was posted, ("POST", "/events"): 403
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.certificate = self._make_certificate("server")
        self.write("ca.crt", self.certificate.read_text())
        self.write("token", "token-one\n")
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _make_certificate(self, name):
        path = self.folder / f"{name}.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.folder / f"{name}.key", "-out", path],
                       check=True, capture_output=True)
        return path

    def another_ca(self):
        return self._make_certificate("other").read_text()

    def write(self, name, text):
        """Changes a file of the service account as kubelet does: all of it at once."""
        fresh = self.account / f".{name}"
        fresh.write_text(text)
        fresh.rename(self.account / name)

    def stop(self):
        if not self.stopping.is_set():
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    # ---- what is there

    def claim(self, name="llama", namespace="ml", uid="6a3f0f5e-0000-4000-8000-000000000001", storage_class="models", **annotations):
        """pull_policy="Never" is the annotation modelstage.io/pull-policy; an annotation None is none."""
        self.raw_claim(name, namespace, {"metadata": {
            "name": name, "namespace": namespace, "uid": uid,
            "annotations": {"volume.kubernetes.io/storage-provisioner": "csi.modelstage.io",
                            **{f"modelstage.io/{k.replace('_', '-')}": v for k, v in annotations.items() if v is not None}}},
            "spec": {"storageClassName": storage_class, "accessModes": ["ReadOnlyMany"]}, "status": {"phase": "Pending"}})

    def raw_claim(self, name, namespace, claim):
        self.objects[CLAIM.format(namespace, name)] = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **claim}

    def volume(self, name, volume, driver="csi.modelstage.io"):
        """What external-provisioner makes of CreateVolume's answer."""
        self.objects[VOLUME.format(name)] = {
            "kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"csi": {"driver": driver, "volumeHandle": volume.volume_id, "volumeAttributes": {
                **volume.volume_context, "storage.kubernetes.io/csiProvisionerIdentity": "1-2-csi.modelstage.io"}}}}

    def node(self, name="test-node", taints=(), labels=()):
        self.objects[NODE.format(name)] = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": dict(labels)},
                                           "spec": {"taints": [dict(t) for t in taints]}}

    def taints(self, name="test-node"):
        return [t["key"] for t in self.objects[NODE.format(name)]["spec"]["taints"]]

    def labels(self, name="test-node"):
        return self.objects[NODE.format(name)]["metadata"]["labels"]

    def called(self, method):
        with self.lock:
            return [path for its, path in self.calls if its == method]

    def asked(self, part=""):
        with self.lock:
            return [path for path in self.requests if part in path]

    # ---- answering

    def answer(self, handler):
        path = handler.path.partition("?")[0]
        with self.lock:
            self.requests.append(path)
            self.calls.append((handler.command, path))
            fault = self.faults.popleft() if self.faults else None
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if fault is not None and "late" in fault:
            self.stopping.wait(fault.pop("late"))
        if fault:
            self._fail(handler, fault)
        elif handler.headers.get("Authorization") not in {f"Bearer {token}" for token in self.tokens}:
            handler.send(401, status(401, "Unauthorized"))
        elif any(handler.command == method and part in path for method, part in self.forbidden):
            handler.send(403, status(403, f"{path} is forbidden"))
        elif handler.command == "POST" and path.endswith("/events"):
            with self.lock:
                self.events.append(json.loads(body))
            handler.send(201, self.events[-1])
        elif handler.command == "PATCH" and path in self.objects:
            with self.lock:
                done = self._patch(self.objects[path], json.loads(body), handler.headers["Content-Type"])
            handler.send(*((200, self.objects[path]) if done else (422, status(422, "the test of the patch does not hold"))))
        elif path in self.objects:
            handler.send(200, self.objects[path])
        else:
            resource, name = path.split("/")[-2:]
            handler.send(404, status(404, f'{resource} "{name}" not found', name=name, kind=resource))

    @staticmethod
    def _patch(node, patch, kind):
        """The two patches of a Node that are sent: labels by merge, taints by test and replace."""
        if kind == "application/merge-patch+json":
            for key, value in patch["metadata"]["labels"].items():
                node["metadata"]["labels"].pop(key, None)
                if value is not None:
                    node["metadata"]["labels"][key] = value
            return True
        test, replace = patch
        assert (test["op"], test["path"], replace["op"], replace["path"]) == ("test", "/spec/taints", "replace", "/spec/taints")
        if node["spec"]["taints"] != test["value"]:
            return False
        node["spec"]["taints"] = replace["value"]
        return True

    def _fail(self, handler, fault):
        handler.close_connection = True
        if fault.get("silent"):
            self.stopping.wait(600)
        elif fault.get("reset"):
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        else:
            handler.send(fault["status"], fault.get("body", status(fault["status"], fault.get("message", "fault"))), fault.get("headers", ()))
