# SPDX-License-Identifier: Apache-2.0
"""A predictor for tests of KServe: embeddings of all-MiniLM-L6-v2 from a mounted folder.

  server.py --model_name NAME --model_dir /mnt/models [--http_port 8080]      as KServe's own servers name them

  GET  /v1/models  /v1/models/NAME                             {"models": [NAME]}, {"name": NAME, "ready": true}
  POST /v1/models/NAME:predict  {"instances": ["text", …]}     {"predictions": [[384 numbers], …]}
  GET  /v2/health/live  /v2/health/ready  /v2/models/NAME/ready

It listens when the model is loaded: what answers is ready.
"""
import argparse
import http.server
import json
import signal
import sys

from minilm import MiniLM

BODY_MAX = 1 << 20
INSTANCES_MAX = 64


class BadRequest(ValueError):
    pass


def read_instances(body):
    try:
        instances = json.loads(body)["instances"]
    except (ValueError, KeyError, TypeError):
        raise BadRequest('the body is not {"instances": [...]}') from None
    if not isinstance(instances, list) or not all(isinstance(i, str) for i in instances):
        raise BadRequest("an instance is not a text")
    if len(instances) > INSTANCES_MAX:
        raise BadRequest(f"more than {INSTANCES_MAX} instances")
    return instances


class Handler(http.server.BaseHTTPRequestHandler):
    """server.name and server.model are the model's."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        name = self.server.name
        answers = {
            "/v1/models": {"models": [name]},
            f"/v1/models/{name}": {"name": name, "ready": True},
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
            f"/v2/models/{name}/ready": {"name": name, "ready": True},
        }
        answer = answers.get(self.path)
        self.answer(200, answer) if answer else self.answer(404, {"error": f"there is no {self.path}"})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_MAX:
            self.close_connection = True  # the body is still to come
            self.answer(413, {"error": f"a request has Content-Length, at most {BODY_MAX}"})
            return
        body = self.rfile.read(int(length))
        if self.path != f"/v1/models/{self.server.name}:predict":
            self.answer(404, {"error": f"there is no {self.path}"})
            return
        try:
            instances = read_instances(body)
        except BadRequest as e:
            self.answer(400, {"error": str(e)})
            return
        self.answer(200, {"predictions": [self.server.model.embed(text).tolist() for text in instances]})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model_name", default="model")
    p.add_argument("--model_dir", default="/mnt/models")
    p.add_argument("--http_port", type=int, default=8080)
    options = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as process 1 it would not end by default
    model = MiniLM(options.model_dir)
    with http.server.ThreadingHTTPServer(("", options.http_port), Handler) as server:
        server.daemon_threads = True
        server.name, server.model = options.model_name, model
        print(f"model {options.model_name} from {options.model_dir} on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
