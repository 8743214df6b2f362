# SPDX-License-Identifier: Apache-2.0
"""The container image: what is in it, what it says about itself, and that it works. tools/check-image builds it and runs this file in
mount and network namespaces of its own; its name keeps it out of runs where there is no image.

  MS_IMAGE   the folder with oci/, modelstage.oci.tar and sbom.spdx.json (build/image)
"""
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
import threading

import pytest
from harness.container import Container
from harness.daemon import Daemon
from harness.layout import Layout, file_sums, tar_of
from harness.registry import DockerRegistry

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
IMAGE = pathlib.Path(os.environ["MS_IMAGE"])
LABEL = "org.opencontainers.image."
SBOM = "usr/share/doc/modelstage/sbom.spdx.json"
MOST = 40 << 20
NAME = "registry.models.test"  # what the certificate is for; nobody's name server knows it


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


# ---- fixtures


@pytest.fixture(scope="module", autouse=True)
def loopback():
    """A new network namespace has it, but down."""
    assert [name for _, name in socket.if_nameindex()] == ["lo"], "tools/check-image gives a network namespace"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING


@pytest.fixture(scope="module")
def layout():
    return Layout(IMAGE / "oci")


@pytest.fixture(scope="module")
def manifest(layout):
    assert len(layout.index()) == 1
    return layout.manifest(layout.index()[0]["digest"])


@pytest.fixture(scope="module")
def config(layout, manifest):
    return layout.manifest(manifest["config"]["digest"])


@pytest.fixture(scope="module")
def members(layout, manifest):
    """[TarInfo] of the one layer, in its order."""
    assert len(manifest["layers"]) == 1
    with tarfile.open(layout.blob_path(manifest["layers"][0]["digest"])) as tar:
        return tar.getmembers()


@pytest.fixture(scope="module")
def files():
    """The image as umoci unpacks the archive, which is not ours."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ms-", dir="/var/tmp"))
    run("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{IMAGE / 'modelstage.oci.tar'}", f"oci:{folder}/oci:image")
    run("umoci", "--log", "error", "raw", "unpack", "--image", f"{folder}/oci:image", folder / "files")
    yield folder / "files"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sbom(files):
    return json.loads((files / SBOM).read_text())


@pytest.fixture(scope="module")
def container(files, members):  # members: read before mount points are added
    c = Container(files)
    yield c
    c.remove()


@pytest.fixture
def folder(container, request):
    path = container.folder / re.sub(r"\W", "", request.node.name)[-20:]
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority of ours, and a certificate for NAME by it: (ca.pem, certificate, key)."""
    at = tmp_path_factory.mktemp("ca")
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run("openssl", "req", "-x509", *ec, "-keyout", at / "ca.key", "-out", at / "ca.pem", "-subj", "/CN=A test's authority")
    run("openssl", "req", *ec[:-2], "-keyout", at / "key.pem", "-out", at / "csr.pem", "-subj", f"/CN={NAME}")
    (at / "ext").write_text(f"subjectAltName=DNS:{NAME}\n")
    run("openssl", "x509", "-req", "-in", at / "csr.pem", "-CA", at / "ca.pem", "-CAkey", at / "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", at / "ext", "-out", at / "cert.pem")
    return at / "ca.pem", at / "cert.pem", at / "key.pem"


MODEL = {"models/": b"", "models/config.json": b"{}\n", "models/größe/模型.safetensors": bytes(range(256)) * 8192}


@pytest.fixture(scope="module")
def model_sums():
    return {path.removeprefix("models/"): hashlib.sha256(data).hexdigest() for path, data in MODEL.items() if data}


@pytest.fixture(scope="module")
def registry(authority, tmp_path_factory):
    """With TLS, by its name: NAME:port/model:1."""
    at = tmp_path_factory.mktemp("registry")
    server = DockerRegistry(at, certificate=authority[1], key=authority[2])
    model = Layout.create(at / "layout")
    model.add_image("1", tar_of(MODEL))
    run("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{at / 'layout'}:1",
        f"docker://{server.ref('model', '1')}")
    yield f"{NAME}:{server.host.rpartition(':')[2]}/model:1"
    server.stop()


@pytest.fixture
def known_host(container):
    """The pod's /etc/hosts, as kubelet writes it, with hostAliases."""
    before = container.hosts.read_text()
    container.hosts.write_text(before + f"127.0.0.1 {NAME}\n")
    yield
    container.hosts.write_text(before)


@pytest.fixture
def start(container, folder, monkeypatch):
    """Starts the image's daemon with these settings."""
    monkeypatch.setenv("MS_WRAP", " ".join(container.wrapper()))
    started = []

    def start(**settings):
        started.append(Daemon(pathlib.Path("/usr/bin"), folder, settings=settings))
        return started[-1]
    yield start
    for daemon in started:
        daemon.stop()


# ---- what it says


def test_skopeo_reads_the_archive_and_its_labels(manifest):
    said = json.loads(run("skopeo", "inspect", f"oci-archive:{IMAGE / 'modelstage.oci.tar'}"))
    version = re.search(r"^project\(modelstage VERSION (\S+)", (REPOSITORY / "CMakeLists.txt").read_text(), re.M)[1]
    created = run("date", "-u", "-d", f"@{os.environ['SOURCE_DATE_EPOCH']}", "+%Y-%m-%dT%H:%M:%SZ").strip()
    labels = {key.removeprefix(LABEL): value for key, value in said["Labels"].items()}
    assert all(key.startswith(LABEL) for key in said["Labels"])
    assert set(labels) == {"created", "description", "licenses", "revision", "source", "title", "url", "version"}
    assert all(labels.values())
    assert (labels["version"], labels["created"], labels["title"]) == (version, created, "modelstage")
    assert labels["revision"] == os.environ["MS_REVISION"]
    assert said["Created"] == created
    assert said["Labels"] == manifest["annotations"]


def test_config_is_for_this_machine_and_starts_the_daemon_as_user_0(config, layout):
    architecture = run("dpkg", "--print-architecture").strip()
    assert (config["os"], config["architecture"]) == ("linux", {"ppc64el": "ppc64le"}.get(architecture, architecture))
    assert layout.index()[0]["platform"] == {"os": "linux", "architecture": config["architecture"]}
    assert config["config"]["Entrypoint"] == ["/usr/bin/modelstaged"]
    assert config["config"]["User"] == "0"
    assert config["config"]["Env"] == ["PATH=/usr/bin"]  # `kubectl exec POD -- modelstage` finds it by this


def test_name_in_the_archive_carries_the_version(layout, manifest):
    name = f"localhost/modelstage:{manifest['annotations'][LABEL + 'version']}"
    assert layout.index()[0]["annotations"] == {LABEL + "ref.name": name, "io.containerd.image.name": name}
    with tarfile.open(IMAGE / "modelstage.oci.tar") as tar:
        assert json.load(tar.extractfile("manifest.json"))[0]["RepoTags"] == [name]
        assert json.load(tar.extractfile("index.json"))["manifests"] == layout.index()


def test_archive_can_be_loaded_as_dockers_too(config):
    said = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{IMAGE / 'modelstage.oci.tar'}"))
    assert said["rootfs"] == config["rootfs"]
    assert said["config"]["Entrypoint"] == ["/usr/bin/modelstaged"]


def test_compressed_size_stays_small(manifest):
    assert sum(d["size"] for d in [manifest["config"], *manifest["layers"]]) <= MOST


# ---- what is in it


def test_two_programs_and_the_loader_are_all_that_can_be_executed(members, files):
    found = {m.name for m in members if m.isfile() and m.mode & 0o111}
    loader = re.search(r"program interpreter: (\S+)\]", run("readelf", "-l", files / "usr/bin/modelstaged"))[1]
    real = os.path.realpath(loader)  # libc6 has it at the same place here
    assert found == {"usr/bin/modelstage", "usr/bin/modelstaged", real[1:]}
    for m in members:
        assert not m.mode & 0o6000, f"{m.name} is setuid or setgid"
        if m.isfile():
            with open(files / m.name, "rb") as f:
                assert f.read(2) != b"#!", f"{m.name} is a script"


def test_nothing_of_the_machine_that_built_it_is_left(members, files):
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", int(os.environ["SOURCE_DATE_EPOCH"]))}
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {m.mode for m in members if m.isfile()} == {0o644, 0o755}
    assert {m.name: m.mode for m in members if m.isdir() and m.mode != 0o755} == {"tmp": 0o1777}
    for path in ("usr/bin/modelstaged", "usr/bin/modelstage", SBOM):
        data = (files / path).read_bytes()
        assert str(REPOSITORY).encode() not in data, path


def test_programs_carry_no_debug_information(files):
    for name in ("modelstaged", "modelstage"):
        assert not re.search(r"\.(debug_\w+|symtab)\b", run("readelf", "-SW", files / "usr/bin" / name))


def test_libraries_are_those_that_the_loader_loads(container, members):
    loader = next(m.name for m in members if m.isfile() and m.mode & 0o111 and "/bin/" not in m.name)
    loaded = set()
    for name in ("modelstaged", "modelstage"):
        done = container.run("/" + loader, "--list", f"/usr/bin/{name}")
        assert done.returncode == 0 and "not found" not in done.stdout, done.stdout + done.stderr
        loaded |= set(re.findall(r"=> (\S+) \(", done.stdout))
    there = {m.name for m in members if m.isfile() and m.name.startswith("usr/lib/") and ".so" in m.name}
    assert {os.path.realpath(container.root / path[1:]) for path in loaded} | {str(container.root / loader)} == \
        {str(container.root / path) for path in there}


def test_certificates_are_those_of_the_package_and_no_others(files):
    """This machine's own bundle may have private authorities in it."""
    def certificates(text):
        return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S)
    packaged = run("dpkg-query", "-L", "ca-certificates").splitlines()
    wanted = sorted(c for p in packaged if re.fullmatch(r"/usr/share/ca-certificates/.*\.crt", p)
                    for c in certificates(pathlib.Path(p).read_text()))
    assert len(wanted) > 100
    assert sorted(certificates((files / "etc/ssl/certs/ca-certificates.crt").read_text())) == wanted


# ---- the bill of materials


def test_sbom_is_beside_the_archive_too(files):
    assert (files / SBOM).read_bytes() == (IMAGE / "sbom.spdx.json").read_bytes()


def test_sbom_has_every_file_with_its_digest(sbom, members, files):
    told = {f["fileName"]: {c["algorithm"]: c["checksumValue"] for c in f["checksums"]} for f in sbom["files"]}
    assert len(told) == len(sbom["files"])
    assert set(told) == {"./" + m.name for m in members if m.isfile()} - {"./" + SBOM}  # it cannot have its own
    for name, sums in told.items():
        data = (files / name).read_bytes()
        assert sums == {"SHA1": hashlib.sha1(data).hexdigest(), "SHA256": hashlib.sha256(data).hexdigest()}, name


def test_sbom_is_well_formed_spdx(sbom):
    assert (sbom["spdxVersion"], sbom["dataLicense"], sbom["SPDXID"]) == ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT")
    assert re.fullmatch(r"https://[^#\s]+", sbom["documentNamespace"])
    ids = [sbom["SPDXID"]] + [x["SPDXID"] for x in sbom["packages"] + sbom["files"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", i) for i in ids)
    relations = [(r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"]) for r in sbom["relationships"]]
    assert {x for a, _, b in relations for x in (a, b)} <= set(ids)
    contained = [b for _, kind, b in relations if kind == "CONTAINS"]
    assert sorted(contained) == sorted(i for i in ids if i not in ("SPDXRef-DOCUMENT", "SPDXRef-Image")), "each in exactly one"
    named = {x["licenseId"] for x in sbom["hasExtractedLicensingInfos"]}
    used = {ref for p in sbom["packages"] for ref in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", p["licenseDeclared"])}
    assert named == used
    sums = {f["SPDXID"]: f["checksums"][0]["checksumValue"] for f in sbom["files"]}
    for p in sbom["packages"]:
        mine = sorted(sums[b] for a, kind, b in relations if kind == "CONTAINS" and a == p["SPDXID"] and b in sums)
        assert p["filesAnalyzed"] == bool(mine)
        if mine:
            assert p["packageVerificationCode"]["packageVerificationCodeValue"] == hashlib.sha1("".join(mine).encode()).hexdigest()


def test_sbom_says_what_dpkg_says(sbom):
    """Versions and licences; and each library is byte for byte the one of its package."""
    debs = {p["SPDXID"]: p for p in sbom["packages"] if "externalRefs" in p}
    assert len(debs) > 40
    for p in debs.values():
        version, architecture = run("dpkg-query", "-W", "-f", "${Version} ${Architecture}\n", p["name"]).splitlines()[0].split()
        assert p["versionInfo"] == version
        purl = p["externalRefs"][0]["referenceLocator"]
        assert purl.startswith(f"pkg:deb/debian/{p['name'].replace('+', '%2B')}@") and f"?arch={architecture}&" in purl
    without = {p["name"] for p in sbom["packages"] if p["licenseDeclared"] == "NOASSERTION"}
    assert without <= {"base-files", next(p["name"] for p in sbom["packages"] if p["SPDXID"] == "SPDXRef-Image")}

    names = {f["SPDXID"]: f["fileName"][2:] for f in sbom["files"]}
    content = {f["fileName"][2:]: f for f in sbom["files"]}
    checked = 0
    for r in sbom["relationships"]:
        if r["relationshipType"] == "CONTAINS" and r["spdxElementId"] in debs and ".so" in names.get(r["relatedSpdxElement"], ""):
            path = names[r["relatedSpdxElement"]]
            package = debs[r["spdxElementId"]]["name"]
            control = run("dpkg-query", "--control-show", f"{package}", "md5sums")
            md5 = {p.removeprefix("usr/"): s for s, p in (line.split(None, 1) for line in control.splitlines())}
            data = pathlib.Path("/" + path).read_bytes()
            assert hashlib.md5(data).hexdigest() == md5[path.removeprefix("usr/")], f"{path} was changed since {package} was installed"
            assert hashlib.sha256(data).hexdigest() == content[path]["checksums"][1]["checksumValue"]
            checked += 1
    assert checked > 80


def test_every_package_brings_its_licence_and_a_scanners_entry(sbom, files):
    for p in sbom["packages"]:
        if "externalRefs" in p:
            assert (files / f"usr/share/doc/{p['name']}/copyright").stat().st_size > 0
            entry = (files / f"var/lib/dpkg/status.d/{p['name']}").read_text()
            assert f"Package: {p['name']}\n" in entry and f"\nVersion: {p['versionInfo']}\n" in entry
    assert (files / "usr/share/doc/modelstage/copyright").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


# ---- how it works


def test_programs_run_in_a_read_only_root(container):
    assert os.statvfs(container.root).f_flag & os.ST_RDONLY
    version = container.run("/usr/bin/modelstaged", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"modelstaged \d+\.\d+\.\d+\n", version.stdout)
    usage = container.run("modelstage", "--help")
    assert usage.returncode == 0 and "warm" in usage.stdout


def test_model_is_warmed_over_tls_with_a_configured_authority(start, folder, authority, registry, known_host, model_sums):
    shutil.copy(authority[0], folder / "ca.pem")
    daemon = start(registries=[{"host": registry.partition("/")[0], "caFile": str(folder / "ca.pem")}])
    assert daemon.cli("warm", registry, "-o", "json").json()[0]["result"] == "miss"
    with daemon.published("v", registry) as path:
        assert file_sums(path) == model_sums  # also by their names, which are not ASCII
    assert daemon.requests_by_result() == (1, 1, 0)


def test_bundle_is_what_is_trusted(container, start, folder, authority, registry, known_host, model_sums):
    daemon = start()
    failed = daemon.cli("warm", registry)
    assert failed.status == 1 and "certificate" in failed.stderr and "not trusted" in failed.stderr
    container.mount_file(authority[0], "etc/ssl/certs/ca-certificates.crt")
    try:
        daemon.restart()
        daemon.cli("warm", registry).ok()
    finally:
        container.unmount_file("etc/ssl/certs/ca-certificates.crt")


def test_init_container_fetches_as_nobody(container, folder, authority, registry, known_host, model_sums):
    shutil.copy(authority[0], folder / "ca-certificates.crt")
    target = folder / "model"
    target.mkdir()
    os.chown(target, 65534, 65534)
    container.mount_file(folder / "ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt")
    try:
        done = container.run("modelstage", "fetch", registry, target, user="65534:65534")
    finally:
        container.unmount_file("etc/ssl/certs/ca-certificates.crt")
    assert done.returncode == 0, done.stderr
    assert file_sums(target) == model_sums
    assert {os.stat(target / path).st_uid for path in model_sums} == {65534}


class NameServer(threading.Thread):
    """Says 127.0.0.1 to every question for an A record of NAME, and that there is none to all others."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))  # nobody else is in this network namespace
        self.asked = []

    def run(self):
        while True:
            question, client = self.socket.recvfrom(4096)
            if not question:
                return
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1:at + 1 + question[at]].decode())
                at += 1 + question[at]
            kind, = struct.unpack_from("!H", question, at + 1)
            self.asked.append(".".join(labels))
            known = self.asked[-1] == NAME
            address = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton("127.0.0.1")) if known and kind == 1 else b""
            head = question[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, 1 if address else 0, 0, 0)
            self.socket.sendto(head + question[12:at + 5] + address, client)

    def stop(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.join()
        self.socket.close()


def test_names_are_asked_of_the_pods_name_server(container, registry):
    server = NameServer()
    server.start()
    container.resolv_conf.write_text("nameserver 127.0.0.1\noptions attempts:1\n")
    try:
        there = container.run("modelstage", "inspect", "--remote", registry)
        nowhere = container.run("modelstage", "inspect", "--remote", "elsewhere.models.test/m:1")
    finally:
        container.resolv_conf.write_text("")
        server.stop()
    assert NAME in server.asked
    assert "not trusted" in there.stderr, "it was found: the certificate is what it does not like"
    assert nowhere.returncode == 1 and "Could not resolve host" in nowhere.stderr


# ---- how it is made


def test_what_belongs_to_no_package_is_refused(tmp_path):
    """Nobody could say what it is. This is also where RUNPATH and $ORIGIN are followed."""
    (tmp_path / "own.c").write_text("int own(void) { return 0; }\n")
    (tmp_path / "main.c").write_text("int own(void);\nint main(void) { return own(); }\n")
    at = tmp_path / "usr/bin"
    (at / "lib").mkdir(parents=True)
    run("gcc", "-shared", "-fPIC", "-o", at / "lib/libown.so", tmp_path / "own.c")
    run("gcc", "-o", at / "modelstaged", tmp_path / "main.c", f"-L{at / 'lib'}", "-lown", "-Wl,-rpath,$ORIGIN/lib")
    shutil.copy(at / "modelstaged", at / "modelstage")
    command = ["/usr/bin/python3", "-B", REPOSITORY / "deploy/image", "--destdir", tmp_path, "--root", tmp_path / "root",
               *(x for f in ("title", "description", "version", "revision", "url") for x in ("--" + f, "x")), "--seconds", "0"]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 1 and f"of no Debian package, so nobody could say what is in the image: {at}/lib/libown.so" in done.stderr
    (at / "lib/libown.so").unlink()
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 1 and f"{at}/modelstaged needs libown.so, which is not in {at}/lib:" in done.stderr


def facts(member, data):
    return member.type, member.mode & 0o7777, member.linkname, data and hashlib.sha256(data).hexdigest()


def base_image(at, buildah):
    """This machine's links to /usr and its empty folders, as an image of that name; what is in the folders gets mounted."""
    base = at / "base"
    folders = ["etc", "tmp", "usr", "var/lib/dpkg"]
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.islink(f"/{name}"):
            base.mkdir(exist_ok=True)
            (base / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            folders.append(name)
    for name in folders:
        (base / name).mkdir(parents=True)
    container = run(*buildah, "from", "scratch").strip()
    run(*buildah, "copy", "-q", container, base, "/")
    run(*buildah, "commit", "-q", "--rm", container, "localhost/base")
    return [f"--volume=/{name}:/{name}:ro" for name in folders if name != "tmp"]


def test_dockerfile_makes_the_same_image(members, files, config):
    """Without a network: the base image stands for Debian's, with all packages installed."""
    at = pathlib.Path(tempfile.mkdtemp(prefix="ms-", dir="/var/tmp"))
    buildah = ["buildah", "--root", at / "root", "--runroot", at / "run", "--storage-driver", "vfs"]
    labels = {key.removeprefix(LABEL): value for key, value in config["config"]["Labels"].items()}
    arguments = {"BASE": "localhost/base", "VERSION": labels["version"], "REVISION": labels["revision"], "CREATED": labels["created"],
                 "SOURCE_DATE_EPOCH": os.environ["SOURCE_DATE_EPOCH"]}
    try:
        volumes = base_image(at, buildah)
        run(*buildah, "bud", "--isolation", "chroot", "--pull-never", *volumes,
            *(x for key, value in arguments.items() for x in ("--build-arg", f"{key}={value}")),
            "-f", REPOSITORY / "deploy/Dockerfile", "-t", "localhost/made", REPOSITORY)
        run(*buildah, "push", "-q", "localhost/made", f"oci:{at / 'oci'}:made")
        made = Layout(at / "oci")
        manifest = made.manifest(made.digest("made"))
        said = made.manifest(manifest["config"]["digest"])["config"]
        assert len(manifest["layers"]) == 1
        with tarfile.open(made.blob_path(manifest["layers"][0]["digest"])) as tar:
            found = {m.name: facts(m, m.isfile() and tar.extractfile(m).read()) for m in tar}
    finally:
        shutil.rmtree(at)
    assert found == {m.name: facts(m, m.isfile() and (files / m.name).read_bytes()) for m in members}
    assert {key: said["Labels"].get(key) for key in config["config"]["Labels"]} == config["config"]["Labels"]
    assert (said["Entrypoint"], said["User"], said["Env"]) == (["/usr/bin/modelstaged"], "0", ["PATH=/usr/bin"])
