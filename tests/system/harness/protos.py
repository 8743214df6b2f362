# SPDX-License-Identifier: Apache-2.0
"""Python modules from the project's own .proto files."""
import importlib
import pathlib
import sys

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"


def compile_protos(folder):
    """Compiles into folder and makes csi_pb2, modelstage_pb2_grpc, … importable."""
    from grpc_tools import protoc

    for proto in sorted(PROTO.glob("*.proto")):
        status = protoc.main(["protoc", f"-I{PROTO}", "-I/usr/include", f"--python_out={folder}",
                              f"--grpc_python_out={folder}", str(proto)])
        assert status == 0, f"protoc does not compile {proto}"
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
