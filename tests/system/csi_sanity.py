# SPDX-License-Identifier: Apache-2.0
"""kubernetes-csi's own conformance suite against one socket with Node and Controller. tools/check-csi-sanity builds csi-sanity
and runs this file; its name keeps it out of runs where csi-sanity may be missing."""
import os
import subprocess

# Nothing is skipped by us: groups of capabilities that we do not have skip themselves.
SKIP = []


def test_csi_sanity(life, golden_registry):
    daemon = life.daemon(golden_registry)
    folder = life.folder()
    (folder / "parameters.yaml").write_text(f"model: {golden_registry.ref('modelpacks', 'raw')}\n")
    command = [os.environ["MS_CSI_SANITY"], f"--csi.endpoint={daemon.csi_socket}", f"--csi.mountdir={folder}/mount",
               f"--csi.stagingdir={folder}/staging", f"--csi.testvolumeparameters={folder}/parameters.yaml",
               "--ginkgo.v", "--ginkgo.no-color"]
    if SKIP:
        command.append("--ginkgo.skip=" + "|".join(SKIP))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, "csi-sanity failed"
    assert " 0 Failed" in done.stdout and " 0 Passed" not in done.stdout
