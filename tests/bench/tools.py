# SPDX-License-Identifier: Apache-2.0
"""Who is measured: Modelstage and the other programs that bring a model from a registry to a node's disk. A tool is a few lines of
shell that see

  REF    the model: host:port/name:latest           REG   host:port
  DEST   an empty folder on the measured disk       WORK  another one for what is not the product
  BLOB   the address of the longest blob            BUILD the build folder of Modelstage
"""
import dataclasses
import json
import os
import pathlib
import shutil

TREE = pathlib.Path(__file__).resolve().parents[2]
CARS = ("car", "gzip", "zstd", "small", "quarter")


@dataclasses.dataclass
class Tool:
    name: str
    kinds: tuple             # artifacts that it can fetch
    command: str             # what the clock runs for
    product: str             # below DEST: the folder with the model's files
    needs: tuple = ()        # programs without which it is left out
    daemon: str = ""         # started before the clock; its CPU and memory count
    ready: str = ""          # succeeds when the daemon answers
    verifies: bool = True    # it checks digests before it says that all is well
    of_ours: bool = False
    artifact: str = ""       # what it fetches instead of the scenario's artifact
    build: pathlib.Path = None
    config: dict = dataclasses.field(default_factory=dict)  # {file in $WORK: text}, there before the daemon starts

    def missing(self, path):
        return [p for p in self.needs if not (os.path.exists(p) if "/" in p else shutil.which(p, path=path))]


def ours(name, build, flags=""):
    """The daemon as it is without a configuration, but for where things lie; `mount` stages what is not here."""
    return Tool(
        name, kinds=(*CARS, "pack", "kit", "files"), of_ours=True, build=build, needs=(str(build / "modelstaged"),),
        daemon=f"exec $BUILD/modelstaged --config $WORK/config {flags}",
        ready="$BUILD/modelstage --socket $WORK/control.sock status",
        command="$BUILD/modelstage --socket $WORK/control.sock mount -q $REF $DEST/mnt", product="mnt")


def our_config(dest, work, host):
    return {"config": json.dumps({
        "node": {"name": "bench"}, "csi": {"endpoint": f"unix://{work}/csi.sock", "kubeletRegistration": ""},
        "control": {"socket": f"{work}/control.sock"}, "cache": {"root": f"{dest}/cache", "minFree": "1%"},
        "registries": [{"host": host, "plainHttp": True}], "http": {"address": "127.0.0.1:0"}})}


CONTAINERD = """version = 3
root = '@WORK@/root'
state = '@WORK@/state'
disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri']
[grpc]
  address = '@WORK@/c.sock'
[ttrpc]
  address = '@WORK@/c.sock.ttrpc'
"""


def _containerd(name, downloads, chunk, unpacks):
    """downloads: ranges at a time; chunk: bytes of each, 0 for one stream; unpacks: layers at a time."""
    config = CONTAINERD + f"""[plugins.'io.containerd.transfer.v1.local']
  max_concurrent_downloads = {downloads}
  concurrent_layer_fetch_buffer = {chunk}
  max_concurrent_unpacks = {unpacks}
"""
    return Tool(name, kinds=CARS, needs=("containerd", "ctr"), config={"config": config},
                daemon="exec containerd -c $WORK/config -l warn", ready="ctr -a $WORK/c.sock version",
                command="mkdir -p $DEST/mnt && ctr -a $WORK/c.sock images pull --plain-http $REF && "
                        "ctr -a $WORK/c.sock images mount $REF $DEST/mnt",
                product="mnt/models")


def _soci(downloads):
    """containerd with the SOCI snapshotter, which brings and unpacks a layer by itself and keeps no copy of the blob."""
    config = CONTAINERD + """[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = 'soci'
[proxy_plugins.soci]
  type = 'snapshot'
  address = '@WORK@/soci.sock'
  [proxy_plugins.soci.exports]
    enable_remote_snapshot_annotations = 'true'
    root = '@WORK@/soci'
"""
    soci = f"""[content_store]
  type = "containerd"
  containerd_address = "@WORK@/c.sock"
[pull_modes.soci_v1]
  enable = false
[pull_modes.soci_v2]
  enable = false
[pull_modes.parallel_pull_unpack]
  enable = true
  max_concurrent_downloads = -1
  max_concurrent_downloads_per_image = {downloads}
  concurrent_download_chunk_size = "16mb"
  max_concurrent_unpacks = -1
  max_concurrent_unpacks_per_image = 4
  discard_unpacked_layers = true
[[resolver.host."@REG@".mirrors]]
  host = "http://@REG@"
  insecure = true
"""
    return Tool(f"SOCI ({downloads} connections)", kinds=("car", "gzip", "zstd", "small"),
                needs=("soci-snapshotter-grpc", "containerd", "ctr"), config={"config": config, "soci.toml": soci},
                daemon="rm -f $WORK/soci.sock; soci-snapshotter-grpc --address $WORK/soci.sock --root $WORK/soci --config $WORK/soci.toml "
                       "--log-level warn & exec containerd -c $WORK/config -l warn",
                ready="[ -S $WORK/soci.sock ] && ctr -a $WORK/c.sock version",
                command="mkdir -p $DEST/mnt && ctr -a $WORK/c.sock images pull --plain-http --snapshotter soci $REF && "
                        "ctr -a $WORK/c.sock images mount --snapshotter soci $REF $DEST/mnt",
                product="mnt/models")


def _model_csi_driver():
    """A volume that models can be put into with its own CLI, which is there before the clock starts."""
    config = """service_name: model.csi.modelpack.org
root_dir: @WORK@/../dest/root
csi_endpoint: unix://@WORK@/csi.sock
pull_config: {docker_config_dir: @WORK@}
"""
    publish = ('{"volume_id": "csi-bench", "target_path": "$DEST/pod", "volume_capability": '
               '{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_READER_ONLY"}}}').replace('"', '\\"')
    return Tool("model-csi-driver", ("pack",), needs=("model-csi-driver", "model-csi-cli"), verifies=False,
                config={"model-csi.yaml": config, "config.json": json.dumps({"auths": {"@REG@": {"auth": "bm86Ym9keQ==", "serverscheme": "http"}}})},
                daemon="X_CSI_MODE=node CSI_NODE_ID=bench exec model-csi-driver --config $WORK/model-csi.yaml",
                ready=f'{TREE}/tools/csi-call $WORK/csi.sock Node/NodePublishVolume "{publish}"',
                command="model-csi-cli --workdir $DEST/pod mount --reference $REF --mount-id m", product="pod/models/m/model")


SKOPEO = "skopeo --insecure-policy copy -q --src-tls-verify=false docker://$REF"
UNTAR = "tar -x -C $DEST"
LAYERS = "python3 -c 'import json,sys;[print(l[\"digest\"][7:]) for l in json.load(open(sys.argv[1]))[\"layers\"]]' $WORK/d/manifest.json"


def peers(data):
    """All that are known; which of them are here is another question. data: the folder with what tools/bench has fetched."""
    kserve = data / "venv/bin/python"
    modctl = "modctl --no-progress --storage-dir $WORK/s --log-dir $WORK/l pull --plain-http"
    kit = "kit --config $WORK/k --progress none"
    return [
        _containerd("containerd", 3, 0, 1),
        _containerd("containerd (8 ranges)", 8, 8 << 20, 4),
        _containerd("containerd (16 ranges)", 16, 16 << 20, 4),
        _soci(10),
        _soci(20),
        Tool("crane export + tar", CARS, f"set -o pipefail; crane export --insecure $REF - | {UNTAR}", "models", ("crane", "tar")),
        Tool("skopeo to dir + tar", CARS, f"{SKOPEO} dir:$WORK/d && for l in $({LAYERS}); do {UNTAR} -f $WORK/d/$l || exit 1; rm $WORK/d/$l; done",
             "models", ("skopeo", "tar")),
        Tool("skopeo to containers-storage", CARS, f'{SKOPEO} "containers-storage:[overlay@$DEST/root+$DEST/run]bench:latest" && '
             "ln -s $DEST/root/overlay/*/diff $DEST/product", "product/models", ("skopeo",)),
        Tool("KServe fetch", ("car", "gzip", "small", "quarter"), "KSERVE_OCI_INSECURE_REGISTRY=true "
             f"{kserve} -c 'import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])' oci://$REF $DEST/models",
             "models", (str(kserve),), verifies=False),
        Tool("libarchive's own filters", ("gzip", "zstd"), "set -o pipefail; curl -sfL $BLOB | $BUILD/tests/bench/bench_untar $DEST",
             "models", ("curl",), verifies=False),
        Tool("modctl", ("pack",), f"{modctl} --extract-from-remote --extract-dir $DEST/m $REF", "m", ("modctl",), verifies=False),
        Tool("modctl (16 at a time)", ("pack",), f"{modctl} --concurrency 16 --extract-from-remote --extract-dir $DEST/m $REF", "m", ("modctl",),
             verifies=False),
        _model_csi_driver(),
        Tool("oras pull", ("pack",), "oras pull --no-tty --plain-http -o $DEST/m $REF", "m", ("oras",), artifact="files"),
        Tool("oras pull (16 at a time)", ("pack",), "oras pull --no-tty --plain-http --concurrency 16 -o $DEST/m $REF", "m", ("oras",),
             artifact="files"),
        Tool("kit pull + unpack", ("kit",), f"{kit} pull --plain-http $REF && {kit} unpack -d $DEST/m $REF", "m", ("kit",)),
        Tool("kit unpack from the registry", ("kit",), f"{kit} unpack --plain-http -d $DEST/m $REF", "m", ("kit",), verifies=False),
    ]
