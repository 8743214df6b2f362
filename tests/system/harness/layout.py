# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts: reading the golden ones, writing small ones for a test, pushing either to a registry byte for byte."""
import hashlib
import io
import json
import os
import pathlib
import tarfile
import urllib.error
import urllib.request

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"

REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def file_sums(folder):
    """{path below folder: SHA-256} of all files; symbolic links count as what they lead to."""
    sums = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(top, name)
            digest = hashlib.sha256()
            with open(path, "rb") as f:
                for piece in iter(lambda: f.read(1 << 20), b""):
                    digest.update(piece)
            sums[os.path.relpath(path, folder)] = digest.hexdigest()
    return sums


def golden_sums(layout, tag, folder=DATA):
    """What the tool that made DATA/layout:tag unpacks: {path: SHA-256}."""
    sums = {}
    with open(folder / f"{layout}.sha256", encoding="utf-8") as f:
        for line in f:
            digest, path = line.rstrip("\n").split("  ", 1)
            if path.startswith(tag + "/"):
                sums[path[len(tag) + 1:]] = digest
    assert sums, f"{layout}.sha256 has nothing of {tag}"
    return sums


def tar_of(files):
    """A plain tar of {path: bytes}; a path that ends with / is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path.rstrip("/"))
            if path.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    @classmethod
    def create(cls, path):
        layout = cls(path)
        (layout.path / "blobs/sha256").mkdir(parents=True)
        (layout.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        layout._write_index([])
        return layout

    def index(self):
        return json.loads((self.path / "index.json").read_text())["manifests"]

    def _write_index(self, manifests):
        new = self.path / "index.json.new"
        new.write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
        new.rename(self.path / "index.json")  # the registry may read it at any moment

    def tags(self):
        return [m["annotations"][REF_NAME] for m in self.index()]

    def digest(self, tag):
        return next(m["digest"] for m in self.index() if m["annotations"][REF_NAME] == tag)

    def blob_path(self, digest):
        return self.path / "blobs/sha256" / digest.split(":")[1]

    def manifest(self, digest):
        return json.loads(self.blob_path(digest).read_bytes())

    def layers(self, tag):
        return self.manifest(self.digest(tag))["layers"]

    # ---- writing

    def add_blob(self, data, media_type):
        digest = "sha256:" + sha256(data)
        self.blob_path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def set_tag(self, tag, descriptor):
        others = [m for m in self.index() if m["annotations"][REF_NAME] != tag]
        self._write_index(others + [dict(descriptor, annotations={REF_NAME: tag})])

    def add_image(self, tag, *layers, media_type=TAR):
        """A container image from tar files (bytes). Returns its digest."""
        descriptors = [self.add_blob(data, media_type) for data in layers]
        config = {"architecture": "amd64", "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [d["digest"] for d in descriptors]}}
        return self.add_manifest(tag, self.add_blob(json.dumps(config).encode(), IMAGE_CONFIG), descriptors)

    def add_manifest(self, tag, config, layers, **more):
        manifest = dict({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}, **more)
        descriptor = self.add_blob(json.dumps(manifest).encode(), MANIFEST)
        self.set_tag(tag, descriptor)
        return descriptor["digest"]

    # ---- pushing

    def push(self, host, repository, tag):
        """Every byte as it is here: blobs, manifests below an index, then the tag."""
        self._push_manifest(f"http://{host}/v2/{repository}", self.digest(tag), tag)

    def _push_manifest(self, base, digest, reference):
        data = self.blob_path(digest).read_bytes()
        manifest = json.loads(data)
        for child in manifest.get("manifests", []):
            self._push_manifest(base, child["digest"], child["digest"])
        for blob in [manifest["config"], *manifest["layers"]] if "layers" in manifest else []:
            self._push_blob(base, blob["digest"])
        kind = manifest.get("mediaType") or MANIFEST
        _request("PUT", f"{base}/manifests/{reference}", data, kind)

    def _push_blob(self, base, digest):
        try:
            _request("HEAD", f"{base}/blobs/{digest}")
            return
        except urllib.error.HTTPError as e:
            if e.code != 404:
                raise
        location = _request("POST", f"{base}/blobs/uploads/", b"").headers["Location"]
        separator = "&" if "?" in location else "?"
        _request("PUT", f"{location}{separator}digest={digest}", self.blob_path(digest).read_bytes(),
                 "application/octet-stream")


def _request(method, url, data=None, media_type=None):
    request = urllib.request.Request(url, data=data, method=method)
    if media_type:
        request.add_header("Content-Type", media_type)
    return urllib.request.urlopen(request, timeout=60)
