# SPDX-License-Identifier: Apache-2.0
"""Fixtures. A test asks for `daemon` (one of its own, made to order) or `shared_daemon` (one for a file of tests).

  MS_BUILD or --build   the build folder with modelstaged, modelstage and tests/support/fault-registry (build/dev)
  MS_TEST_DIR           where caches lie; a real disk (/var/tmp)
  MS_WRAP               put in front of our programs: build/dev/tests/support/no-io-uring
  MS_DEADLINE           seconds before a test gives up on something (60)
"""
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

from harness import mounts, protos
from harness.daemon import Daemon
from harness.layout import DATA, Layout
from harness.registry import DockerRegistry, FaultRegistry

# A run in the background of a script ignores SIGINT, and so would every program that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ("images", "modelkits", "modelpacks")


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("MS_BUILD", "build/dev"), help="the build folder")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    setattr(item, "report_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture(scope="session")
def build(request):
    path = pathlib.Path(request.config.getoption("--build"))
    path = path if path.is_absolute() else REPOSITORY / path
    for program in ("modelstaged", "modelstage", "tests/support/fault-registry"):
        if not (path / program).exists():
            pytest.exit(f"{path / program} is not built", returncode=2)
    return path


@pytest.fixture(scope="session")
def sanitized(build):
    cache = (build / "CMakeCache.txt").read_text()
    return any(line.startswith("SANITIZE:") and not line.endswith("=") for line in cache.splitlines())


@pytest.fixture(scope="session", autouse=True)
def proto_modules(tmp_path_factory):
    protos.compile_protos(tmp_path_factory.mktemp("proto"))


def _new_folder():
    above = os.environ.get("MS_TEST_DIR", "/var/tmp")
    if mounts.filesystem_type(os.path.realpath(above)) in ("tmpfs", "ramfs"):
        pytest.exit(f"{above} is not on a disk; set MS_TEST_DIR", returncode=2)
    return pathlib.Path(tempfile.mkdtemp(prefix="ms-", dir=os.path.realpath(above)))  # short: sockets lie in it


class Lifetime:
    """What tests start, and its end: everything is stopped, unmounted and removed whatever happens in between."""

    def __init__(self, build):
        self.build, self.started, self.folders = build, [], []

    def folder(self):
        self.folders.append(_new_folder())
        return self.folders[-1]

    def daemon(self, *registries, plain_http=(), flags=(), **settings):
        hosts = [r if isinstance(r, str) else r.host for r in registries] + list(plain_http)
        self.started.append(Daemon(self.build, self.folder(), hosts, settings, flags))
        return self.started[-1]

    def registry(self, layouts=None, synthetic=None, digests=None, **knobs):
        registry = FaultRegistry(self.build, self.folder(), layouts, synthetic, digests=digests)
        self.started.append(registry)
        if knobs:
            registry.set(**knobs)
        return registry

    def docker_registry(self):
        self.started.append(DockerRegistry(self.folder()))
        return self.started[-1]

    def end(self, failed=False):
        errors, left = [], []
        for thing in reversed(self.started):
            try:
                thing.stop()
            except AssertionError as e:
                errors.append(str(e))
            finally:
                if thing.process.running():
                    thing.process.popen.kill()
                    thing.process.popen.wait()
        for folder in self.folders:
            left += mounts.unmount_below(folder)
            if folder.exists():
                shutil.rmtree(folder)
        if left and not failed:
            errors.append(f"the test leaves mounts: {left}")
        assert not errors, "\n".join(errors)


def _show_logs(lifetime, item):
    for thing in lifetime.started:
        if isinstance(thing, Daemon):
            item.add_report_section("call", "modelstaged", thing.log[-8000:])


@pytest.fixture
def life(build, request):
    """Starts things for one test: life.daemon(…), life.registry(…), life.folder()."""
    lifetime = Lifetime(build)
    yield lifetime
    report = getattr(request.node, "report_call", None)
    failed = report is None or report.failed
    if failed:
        _show_logs(lifetime, request.node)
    lifetime.end(failed)


@pytest.fixture(scope="module")
def shared_life(build):
    lifetime = Lifetime(build)
    yield lifetime
    lifetime.end()


@pytest.fixture(scope="session")
def session_life(build):
    lifetime = Lifetime(build)
    yield lifetime
    lifetime.end()


@pytest.fixture(scope="session")
def docker_registry(session_life):
    """Debian's registry with all golden artifacts: repository = layout, tag = tag."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    registry = session_life.docker_registry()
    for name in GOLDEN:
        layout = Layout(DATA / name)
        for tag in layout.tags():
            layout.push(registry.host, name, tag)
    return registry


@pytest.fixture(scope="module")
def golden_registry(shared_life):
    """Our registry with the golden artifacts, without faults."""
    return shared_life.registry(layouts={name: DATA / name for name in GOLDEN})


@pytest.fixture
def registry(life):
    """Our registry with the golden artifacts and two synthetic models, for a test that turns its knobs."""
    return life.registry(layouts={name: DATA / name for name in GOLDEN},
                         synthetic={"raw": "raw:24MiB:2", "tar": "tar:24MiB:3", "big": "raw:96MiB:1"})


@pytest.fixture
def daemon(life, registry):
    """A daemon that may ask `registry` without TLS."""
    return life.daemon(registry)
