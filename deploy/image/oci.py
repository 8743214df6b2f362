# SPDX-License-Identifier: Apache-2.0
"""One layer, its config and manifest, as an OCI image layout and as an archive of it. Same tree and labels in, same bytes out."""
import gzip
import hashlib
import io
import json
import os
import tarfile

from tree import FILE, LINK

TYPES = "application/vnd.oci.image."
KINDS = {FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}


def _tar(members, mtime):
    """members: [(name, tar type, mode, data, target)]"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, mode, data, target in members:
            info = tarfile.TarInfo(name)  # owner 0:0, no names
            info.type, info.mode, info.mtime, info.size, info.linkname = kind, mode, mtime, len(data), target
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _gzip(data):
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as z:
        z.write(data)
    return out.getvalue()


def _json(value):
    return json.dumps(value, indent=1).encode()


class Image:
    """.blobs {hex: bytes}, .manifest (a descriptor); write() puts them on disk."""

    def __init__(self, tree, labels, architecture, seconds, name):
        self.blobs, self.name, self.seconds = {}, name, seconds
        layer = _tar([(path, KINDS.get(e.kind, tarfile.DIRTYPE), e.mode, e.data, e.target) for path, e in tree.sorted()], seconds)
        packed = self._blob("layer.v1.tar+gzip", _gzip(layer))
        config = self._blob("config.v1+json", _json({
            "created": labels["org.opencontainers.image.created"],
            "architecture": architecture,
            "os": "linux",
            "config": {"User": "0", "Env": ["PATH=/usr/bin"], "Entrypoint": ["/usr/bin/modelstaged"], "WorkingDir": "/", "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
            "history": [{"created": labels["org.opencontainers.image.created"], "created_by": "tools/image"}],
        }))
        self.manifest = self._blob("manifest.v1+json", _json({
            "schemaVersion": 2, "mediaType": TYPES + "manifest.v1+json", "config": config, "layers": [packed], "annotations": labels}))
        self.manifest["platform"] = {"architecture": architecture, "os": "linux"}
        # The first name is the standard's, the second containerd's.
        self.manifest["annotations"] = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
        # What `docker load` and `podman load` read instead of the index.
        self.docker = [{"Config": self._path(config), "RepoTags": [name], "Layers": [self._path(packed)]}]

    def _blob(self, kind, data):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": TYPES + kind, "digest": "sha256:" + digest, "size": len(data)}

    @staticmethod
    def _path(descriptor):
        return "blobs/" + descriptor["digest"].replace(":", "/")

    def _layout(self):
        index = {"schemaVersion": 2, "mediaType": TYPES + "index.v1+json", "manifests": [self.manifest]}
        files = {f"blobs/sha256/{digest}": data for digest, data in self.blobs.items()}
        return files | {"index.json": _json(index), "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}

    def write_layout(self, folder):
        os.makedirs(os.path.join(folder, "blobs/sha256"))
        for path, data in self._layout().items():
            with open(os.path.join(folder, path), "xb") as f:
                f.write(data)

    def write_archive(self, path):
        files = self._layout() | {"manifest.json": _json(self.docker)}
        members = [(name, tarfile.DIRTYPE, 0o755, b"", "") for name in ("blobs", "blobs/sha256")]
        members += [(name, tarfile.REGTYPE, 0o644, data, "") for name, data in sorted(files.items())]
        with open(path, "wb") as f:
            f.write(_tar(members, self.seconds))
