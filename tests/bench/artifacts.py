#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The models that the benchmark fetches, as OCI image layouts; made once, used by every run.

  tests/bench/artifacts.py --build build/release [--size MiB] DIR [NAME…]

  car     modelcar: one plain-tar layer, four shards and two small files below /models     SIZE (2048 MiB)
  pack    ModelPack: four raw shards and eight small files                                 SIZE
  files   the files of pack as an ORAS artifact (their blobs are the same files on disk)   SIZE
  kit     ModelKit: the files of pack in one plain tar                                     SIZE
  gzip    modelcar: one shard of bf16 weights, gzip -6                                     SIZE / 2
  zstd    the same, zstd -3                                                                SIZE / 2
  small   modelcar: files of 100 KiB, plain tar; 10,000 for 2048 MiB
  quarter a quarter as many

DIR/NAME is the layout, its tag "latest"; DIR/NAME/contents.json says what was asked for, what a user gets ({path: SHA-256}) and how many bytes that is.
A layout is made again when it was asked for differently or a blob has not the size that it should have.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

VERSION = 1  # of the recipes; another one makes all artifacts again
MIB = 1 << 20
CHUNK = 1 << 20
SHARDS = 4
SMALL_FILE = 100 << 10
IMAGE = "application/vnd.oci.image"
MANIFEST = IMAGE + ".manifest.v1+json"
TEXTS = {"config.json": '{"architectures":["LlamaForCausalLM"],"hidden_size":4096}\n',
         "generation_config.json": '{"temperature":0.6}\n', "special_tokens_map.json": '{"eos_token":"</s>"}\n',
         "tokenizer_config.json": '{"model_max_length":131072}\n', "model.safetensors.index.json": '{"metadata":{},"weight_map":{}}\n',
         "README.md": "# A model for the benchmark\n", "LICENSE": "Apache-2.0\n"}


class Source:
    """A file to be: from a text, or from bench_content."""

    def __init__(self, path, text=None, kind="random", seed=0, size=0):
        self.path, self.text, self.kind, self.seed = path, text, kind, seed
        self.size = len(text) if text is not None else size

    def chunks(self, build):
        if self.text is not None:
            yield self.text.encode()
            return
        with subprocess.Popen([build / "tests/bench/bench_content", self.kind, str(self.seed), str(self.size)],
                              stdout=subprocess.PIPE) as process:
            while chunk := process.stdout.read(CHUNK):
                yield chunk
        if process.returncode:
            raise RuntimeError(f"bench_content ended with {process.returncode}")


class Layout:
    """One OCI image layout while it is made."""

    def __init__(self, folder, build):
        self.folder, self.build = folder, build
        self.blobs = folder / "blobs/sha256"
        self.contents = {}  # path as the user sees it: SHA-256
        self.bytes = 0      # of those files
        shutil.rmtree(folder, ignore_errors=True)
        self.blobs.mkdir(parents=True)

    def _keep(self, temporary, sha256):
        os.rename(temporary, self.blobs / sha256)
        return "sha256:" + sha256

    def text(self, media_type, value):
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        (self.folder / "new").write_bytes(data)
        return {"mediaType": media_type, "digest": self._keep(self.folder / "new", hashlib.sha256(data).hexdigest()), "size": len(data)}

    def _pour(self, source, *sinks):
        """Hands the bytes of a file to all sinks and notes its digest."""
        own = hashlib.sha256()
        for chunk in source.chunks(self.build):
            own.update(chunk)
            for sink in sinks:
                sink(chunk)
        self.bytes += source.size
        return own.hexdigest()

    def raw(self, media_type, source, annotations):
        with open(self.folder / "new", "wb") as out:
            sha256 = self._pour(source, out.write)
        self.contents[source.path] = sha256
        return {"mediaType": media_type, "digest": self._keep(self.folder / "new", sha256), "size": source.size, "annotations": annotations}

    def tar(self, media_type, sources, below="", command=None):
        """(descriptor, diff id): the sources as one tar, through a command such as gzip."""
        plain = hashlib.sha256()
        with open(self.folder / "new", "wb") as out:
            filter_ = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) if command else None
            write = filter_.stdin.write if filter_ else out.write

            def put(data):
                plain.update(data)
                write(data)

            if below:
                put(header(below, 0, tarfile.DIRTYPE))
            for source in sources:
                put(header(f"{below}/{source.path}" if below else source.path, source.size))
                self.contents[source.path] = self._pour(source, put)
                put(bytes(-source.size % 512))
            put(bytes(1024))
            if filter_:
                filter_.stdin.close()
                if filter_.wait():
                    raise RuntimeError(f"{command[0]} ended with {filter_.returncode}")
        sha256 = digest_of(self.folder / "new") if command else plain.hexdigest()
        size = os.path.getsize(self.folder / "new")
        return {"mediaType": media_type, "digest": self._keep(self.folder / "new", sha256), "size": size}, "sha256:" + plain.hexdigest()

    def finish(self, wanted, config, layers, **more):
        manifest = self.text(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more})
        manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (self.folder / "contents.json").write_text(json.dumps(
            {"wanted": wanted, "layers": layers, "files": self.contents, "bytes": self.bytes}, indent=1))


def header(path, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(path + "/" if kind == tarfile.DIRTYPE else path)
    info.size, info.type, info.mode = size, kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def digest_of(path):
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    with open(path, "rb", buffering=0) as f:
        while n := f.readinto(buffer):
            digest.update(memoryview(buffer)[:n])
    return digest.hexdigest()


def shards(size):
    return [Source(f"model-{i:05}-of-{SHARDS:05}.safetensors", seed=i, size=size * MIB // SHARDS) for i in range(1, SHARDS + 1)]


def tokenizer(size):
    return Source("tokenizer.json", kind="random", seed=99, size=min(4 * MIB, size * MIB // 64))


def texts():
    return [Source(path, text=text) for path, text in TEXTS.items()]


def image(layout, wanted, sources, suffix="", command=None):
    layer, diff_id = layout.tar(f"{IMAGE}.layer.v1.tar{suffix}", sources, "models", command)
    config = layout.text(IMAGE + ".config.v1+json", {"architecture": "amd64", "os": "linux", "config": {},
                                                     "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
    layout.finish(wanted, config, [layer])


def make_car(layout, wanted, size):
    image(layout, wanted, [*shards(size), tokenizer(size), texts()[0]])


def make_compressed(command, suffix):
    def make(layout, wanted, size):
        sources = [Source("model.safetensors", kind="bf16", seed=7, size=size * MIB // 2), texts()[0]]
        image(layout, wanted, sources, suffix, command)
    return make


def make_small(share):
    def make(layout, wanted, size):
        n = max(4, 10000 * size // 2048 // share)
        image(layout, wanted, [Source(f"f{i:05}", seed=1000 + i, size=SMALL_FILE) for i in range(n)])
    return make


def make_pack(layout, wanted, size):
    layers = []
    for source in [*shards(size), tokenizer(size), *texts()]:
        kind = "weight" if source.path.endswith(".safetensors") else "doc" if source.path in ("README.md", "LICENSE") else "weight.config"
        metadata = {"name": source.path, "mode": 0o644, "uid": 0, "gid": 0, "size": source.size, "mtime": "1970-01-01T00:00:00Z", "typeflag": 0}
        layers.append(layout.raw(f"application/vnd.cncf.model.{kind}.v1.raw", source, {
            "org.cncf.model.filepath": source.path, "org.cncf.model.file.metadata+json": json.dumps(metadata)}))
    config = layout.text("application/vnd.cncf.model.config.v1+json", {
        "descriptor": {"name": "bench"}, "modelfs": {"type": "layers", "diffIds": [d["digest"] for d in layers]},
        "config": {"format": "safetensors", "precision": "bf16"}})
    layout.finish(wanted, config, layers, artifactType="application/vnd.cncf.model.manifest.v1+json")


def make_files(layout, wanted, size):
    """Blobs are those of pack, so they lie on the disk (and in the page cache) once."""
    other = layout.folder.parent / "pack"
    ensure(layout.folder.parent, "pack", size, layout.build, quiet=True)
    known = json.loads((other / "contents.json").read_text())
    layers = []
    for descriptor in known["layers"]:
        os.link(other / "blobs/sha256" / descriptor["digest"][7:], layout.blobs / descriptor["digest"][7:])
        path = descriptor["annotations"]["org.cncf.model.filepath"]
        layers.append({"mediaType": "application/octet-stream", "digest": descriptor["digest"], "size": descriptor["size"],
                       "annotations": {"org.opencontainers.image.title": path}})
    layout.contents, layout.bytes = known["files"], known["bytes"]
    empty = layout.text("application/vnd.oci.empty.v1+json", {})
    layout.finish(wanted, empty, layers, artifactType="application/vnd.modelstage.bench")


def make_kit(layout, wanted, size):
    layer, diff_id = layout.tar("application/vnd.kitops.modelkit.model.v1.tar", [*shards(size), tokenizer(size), *texts()])
    config = layout.text("application/vnd.kitops.modelkit.config.v1+json", {
        "manifestVersion": "1.0.0", "package": {"name": "bench", "version": "1.0.0"},
        "model": {"name": "bench", "path": ".", "framework": "transformers", "digest": layer["digest"], "diffId": diff_id}})
    layout.finish(wanted, config, [layer], annotations={"ml.kitops.modelkit.cli-version": "unknown"})


RECIPES = {"car": make_car, "pack": make_pack, "files": make_files, "kit": make_kit,
           "gzip": make_compressed(["gzip", "-6", "-n"], "+gzip"), "zstd": make_compressed(["zstd", "-q", "-3"], "+zstd"),
           "small": make_small(1), "quarter": make_small(4)}


class Artifact:
    """One that is there."""

    def __init__(self, folder):
        known = json.loads((folder / "contents.json").read_text())
        self.name, self.folder = folder.name, folder
        self.files, self.layers = known["files"], known["layers"]
        self.bytes = known["bytes"]                                # of the files that a user gets
        self.wire = sum(d["size"] for d in self.layers)            # of the blobs
        self.longest = max(self.layers, key=lambda d: d["size"])

    def blob(self, descriptor):
        return self.folder / "blobs/sha256" / descriptor["digest"][7:]


def _is_good(folder, wanted):
    try:
        known = json.loads((folder / "contents.json").read_text())
        return known["wanted"] == wanted and all(
            os.path.getsize(folder / "blobs/sha256" / d["digest"][7:]) == d["size"] for d in known["layers"])
    except (OSError, ValueError, KeyError):
        return False


def ensure(folder, name, size, build, quiet=False):
    """The artifact DIR/NAME, made if it is not there as wanted."""
    wanted = {"version": VERSION, "name": name, "size": size}
    if not _is_good(folder / name, wanted):
        if not quiet:
            print(f"making {name} ({size} MiB) in {folder}", flush=True)
        RECIPES[name](Layout(folder / name, build), wanted, size)
    return Artifact(folder / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder with tests/bench/bench_content")
    parser.add_argument("--size", type=int, default=2048, help="MiB of weights (2048)")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(RECIPES))
    args = parser.parse_args()
    for name in args.names or RECIPES:
        if name not in RECIPES:
            parser.error(f"no artifact {name}; there are {' '.join(RECIPES)}")
        artifact = ensure(args.folder.absolute(), name, args.size, args.build.absolute())
        print(f"{name}: {len(artifact.layers)} blobs, {artifact.wire} bytes; {len(artifact.files)} files, {artifact.bytes} bytes")


if __name__ == "__main__":
    main()
