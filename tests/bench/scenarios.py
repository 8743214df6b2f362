# SPDX-License-Identifier: Apache-2.0
"""What is run: a scenario is a model, a behaviour of the registry, and who takes part. Its entrants run by turns."""
import dataclasses
import functools

import artifacts
import faults
import floor
import tebibyte
from measure import one_run

PACE = 80_000_000   # bytes a second of one connection, as real registries have it
STARVED = 4_000_000
RESET = 200_000_000
LIMIT = 8


@dataclasses.dataclass
class Scenario:
    number: int
    name: str
    title: str
    artifact: str
    pace: int = 0
    plain: bool = False       # counts for write amplification, CPU and memory
    floor: bool = True
    musts: tuple = ()         # (whom: beginning of a name, least ratio of seconds)
    least: float = 0          # of the floor
    peers_once: bool = False  # the pace says how long they take, and that is long
    extra: str = ""           # "linear", "faults", "ends", "tebibyte"


SCENARIOS = [
    Scenario(1, "car", "Modelcar, one plain-tar layer", "car", plain=True, least=0.85,
             musts=(("containerd", 4.5), ("crane", 2.5), ("SOCI", 2.2), ("KServe", 2.0))),
    Scenario(2, "pack", "ModelPack, four raw shards and eight small files", "pack", plain=True, least=0.85, musts=(("modctl", 1.5), ("model-csi", 1.5), ("oras", 1.5))),
    Scenario(3, "kit", "ModelKit, one plain tar", "kit", plain=True, least=0.85, musts=(("kit pull", 2.7), ("kit unpack", 1.5))),
    Scenario(4, "paced", "Modelcar, every connection paced to 80 MB/s", "car", pace=PACE, plain=True, least=0.9, peers_once=True),
    Scenario(5, "gzip", "Modelcar, gzip -6 over bf16 weights", "gzip", musts=(("KServe", 2.0), ("libarchive", 1.4))),
    Scenario(5, "zstd", "Modelcar, zstd -3 over bf16 weights", "zstd", musts=(("SOCI", 2.0),)),
    Scenario(6, "small", "Modelcar, files of 100 KiB", "small", plain=True, extra="linear",
             musts=(("containerd", 4.0), ("crane", 1.0), ("SOCI", 1.0), ("KServe", 1.0), ("skopeo", 1.0))),
    Scenario(7, "faults", "A registry that misbehaves, 80 MB/s per connection", "car", pace=PACE, floor=False, extra="faults"),
    Scenario(8, "ends", "SIGKILL at 50 % and again; registry away for 2 s at 50 %; 80 MB/s per connection", "car", pace=PACE, floor=False, extra="ends"),
    Scenario(10, "tebibyte", "The engine alone: 1 TiB from a synthetic registry to nowhere", "", floor=False, extra="tebibyte"),
]


@dataclasses.dataclass
class Entrant:
    label: str
    run: callable            # (thorough) -> figures
    tool: object = None      # None: the floor
    artifact: object = None
    once: bool = False       # one round is enough: it shows what happens, not how fast


def chosen(names):
    """By number or name; all if none is given."""
    wanted = [s for s in SCENARIOS if not names or str(s.number) in names or s.name in names]
    unknown = [n for n in names if not any(n in (str(s.number), s.name) for s in SCENARIOS)]
    if unknown:
        raise SystemExit(f"bench: no scenario {', '.join(unknown)}; there are {', '.join(f'{s.number} {s.name}' for s in SCENARIOS)}")
    return wanted


def entrants(bench, scenario, ours, peers):
    """ours: several builds of Modelstage may run against each other; the first one is judged."""
    if scenario.extra == "tebibyte":
        far = tebibyte.Synthetic("tebibyte", 1 << 40, bench.far)
        near = tebibyte.Synthetic("gibibyte", min(1 << 30, bench.far), min(1 << 30, bench.far))
        return [Entrant(f"{t.name}: {'1 TiB' if blob is far else '1 GiB'}", functools.partial(_tebibyte, bench, t, blob, blob is near), t, blob,
                        once=blob is far) for t in ours for blob in (far, near)]

    def artifact(name):
        return artifacts.ensure(bench.data / f"artifacts-{bench.size}", name, bench.size, bench.build)

    model, knobs = artifact(scenario.artifact), {"pace": scenario.pace} if scenario.pace else {}

    def plain(tool, label=None, model=model, more=None, tool_flags=""):
        if tool_flags:
            tool = dataclasses.replace(tool, daemon=f"{tool.daemon} {tool_flags}")
        run = functools.partial(one_run, bench, tool, model, {**knobs, **(more or {})})
        return Entrant(label or tool.name, lambda thorough: run(thorough=thorough), tool, model, once=scenario.peers_once and not tool.of_ours)

    if scenario.extra == "faults":
        return [e for tool in ours for e in (
            plain(tool, f"{tool.name}: no fault"),
            plain(tool, f"{tool.name}: one connection in 16 starved", more={"starve_every": 16, "starve_rate": STARVED}),
            plain(tool, f"{tool.name}: a reset every 200 MB", more={"reset_total": RESET}),
            plain(tool, f"{tool.name}: no fault, {LIMIT} connections", tool_flags=f"--engine.connectionsPerHost {LIMIT}"),
            plain(tool, f"{tool.name}: 429 above {LIMIT}", more={"max_blobs": LIMIT}))]
    if scenario.extra == "ends":
        takes_part = [t for t in [*ours, *peers] if t.of_ours or scenario.artifact in t.kinds and t.verifies]
        return [Entrant(f"{t.name}: {text}", functools.partial(how, bench, t, model, knobs), t, model, once=not t.of_ours)
                for t in takes_part for text, how in (("killed", faults.killed), ("registry away", faults.left_alone))]
    lowest = [Entrant("floor", lambda thorough: floor.measure(bench, model, scenario.pace), None, model)] if scenario.floor else []
    others = [plain(t, model=artifact(t.artifact) if t.artifact else model) for t in peers if scenario.artifact in t.kinds]
    linear = [plain(t, f"{t.name}, a quarter of the files", artifact("quarter")) for t in ours] if scenario.extra == "linear" else []
    return [*lowest, *(plain(t) for t in ours), *linear, *others]


def _tebibyte(bench, tool, blob, whole, _thorough):
    return tebibyte.run(bench, tool, blob, whole)
