# SPDX-License-Identifier: Apache-2.0
"""tools/check does not take for held what it could not try."""
import pathlib
import shutil

import pytest

from conftest import REPOSITORY, run

NEEDED = ("bash", "cat", "dirname", "mkdir", "mktemp", "nproc", "realpath", "rm", "sed", "tee")


@pytest.fixture(name="check")
def fixture_check(tmp_path):
    """Runs tools/check where there is no Go, and where cmake builds nothing."""
    for folder in ("tools", "bin", "build/dev"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("check", "check-deploy", "check-csi-sanity"):
        shutil.copy(REPOSITORY / "tools" / name, tmp_path / "tools")
    for program in NEEDED:
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    (tmp_path / "bin/cmake").symlink_to(shutil.which("true"))

    def check(*steps):
        return run(pathlib.Path("tools/check"), *steps, cwd=tmp_path, env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)})

    check.tools = tmp_path / "tools"
    return check


def stub(check, name, text):
    path = check.tools / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_steps_that_were_skipped_are_named_at_the_end(check):
    stub(check, "install-packages", "true")
    done = check("packages", "sanity", "deploy")
    assert done.returncode == 0, done.stderr
    end = done.stdout[done.stdout.index("it holds:"):]
    assert end == ("it holds: packages\nnot tried:\n  sanity: skipped, no Go on this machine to build csi-sanity with\n"
                   "  deploy: skipped, no Go on this machine to read manifests with\n")


def test_what_was_all_tried_is_said_to_hold(check):
    stub(check, "install-packages", "true")
    assert check("packages").stdout.endswith("\nall of it holds: packages\n")


def test_a_step_that_fails_is_not_taken_for_skipped(check):
    stub(check, "install-packages", "exit 3")
    done = check("packages")
    assert done.returncode == 1 and "=== packages failed ===" in done.stderr and "hold" not in done.stdout


def test_a_skipped_step_by_itself_does_not_say_success(check):
    done = run(pathlib.Path("tools/check-deploy"), "build/dev", cwd=check.tools.parent, env={"PATH": str(check.tools.parent / "bin"), "HOME": "/"})
    assert done.returncode == 77 and done.stdout == "deploy: skipped, no Go on this machine to read manifests with\n"
