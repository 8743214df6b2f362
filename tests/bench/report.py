# SPDX-License-Identifier: Apache-2.0
"""From the figures of all runs to medians, verdicts and a Markdown page."""
import statistics

GB, MIB = 1e9, 1 << 20
ARENA = 256 * MIB  # engine.memory as it is by default
IDLE = 0.1         # a machine of which more is used by others is not idle
LINEAR = 1.1       # so much more than four times as long may four times as many files take


def medians(runs):
    """{label: {figure: median}} of the runs that went well, with how many those are and what failed."""
    found = {}
    for run in runs:
        entry = found.setdefault(run["label"], {"runs": [], "failed": []})
        entry["failed" if "failed" in run else "runs"].append(run.get("failed") or run["figures"])
    for label, entry in found.items():
        good = entry.pop("runs")
        keys = set().union(*good) if good else ()
        found[label] = {key: statistics.median(g[key] for g in good if key in g) for key in keys}
        found[label].update(n=len(good), failed=entry["failed"])
    return found


def _verdict(what, value, least=None, most=None):
    holds = value >= least if least is not None else value <= most
    return {"what": what, "value": round(value, 3), "must": f"≥ {least:g}" if least is not None else f"≤ {most:g}", "holds": bool(holds)}


def against(scenario, found, ours):
    """Seconds, all synced; a peer counts at its best."""
    verdicts = []
    for name, least in scenario.musts:
        theirs = {label: m["synced"] for label, m in found.items() if label.startswith(name) and m["n"]}
        if theirs:
            best = min(theirs, key=theirs.get)
            verdicts.append(_verdict(f"times as fast as {best}", theirs[best] / ours["synced"], least=least))
    if scenario.least and found.get("floor", {}).get("n"):
        verdicts.append(_verdict("of the floor", found["floor"]["synced"] / ours["synced"], least=scenario.least))
    return verdicts


def _plain(found, ours, artifact, verifying):
    cpu = ours["cpu"] / artifact.bytes * GB
    verdicts = [_verdict("written / size", ours["written"] / artifact.bytes, most=1.01), _verdict("CPU-s/GB", cpu, most=1.5),
                _verdict("peak RSS less arena, MiB", (ours["rss"] - ARENA) / MIB, most=64)]
    others = [found[label]["cpu"] for label in verifying if found.get(label, {}).get("n")]
    if others:
        verdicts.append(_verdict("CPU of the thriftiest peer that verifies / ours", min(others) / ours["cpu"], least=1))
    return verdicts


def _faults(found, name, artifact):
    verdicts = []
    for fault, clean in (("one connection in 16 starved", "no fault"), ("a reset every 200 MB", "no fault"), ("429 above 8", "no fault, 8 connections")):
        one, other = found.get(f"{name}: {fault}"), found.get(f"{name}: {clean}")
        if one and other and one["n"] and other["n"]:
            verdicts.append(_verdict(f"{fault}: times the clean run", one["synced"] / other["synced"], most=1.15))
            verdicts.append(_verdict(f"{fault}: fetched again, %", 100 * (one["fetched"] / artifact.wire - 1), most=2))
    return verdicts


def _ends(found, name, artifact):
    verdicts = []
    for end in ("killed", "registry away"):
        one = found.get(f"{name}: {end}")
        if not one:
            continue
        verdicts.append(_verdict(f"{end}: runs that complete, %", 100 * one["n"] / (one["n"] + len(one["failed"])), least=100))
        if one["n"]:
            again = one["fetched"] - artifact.wire - ARENA
            verdicts.append(_verdict(f"{end}: fetched again beyond the window, %", max(0, 100 * again / artifact.wire), most=1))
    return verdicts


def _tebibyte(found, name):
    far, near = found.get(f"{name}: 1 TiB"), found.get(f"{name}: 1 GiB")
    if not far or not near or not far["n"] or not near["n"]:
        return []
    verdicts = [_verdict("memory of 1 TiB / of 1 GiB", far["rss"] / near["rss"], most=1.05)]
    if "firstRate" in far:
        verdicts.append(_verdict("rate of the last tenth / of the first", far["lastRate"] / far["firstRate"], least=0.9))
    return verdicts


def judge(scenario, entrants, runs):
    """(medians, verdicts) of one scenario; the first Modelstage is the one that is judged."""
    found = medians(runs)
    own = next((e for e in entrants if e.tool and e.tool.of_ours), None)
    if not own:
        return found, []
    name, ours = own.tool.name, found.get(own.label, {"n": 0})
    if scenario.extra == "faults":
        return found, _faults(found, name, own.artifact)
    if scenario.extra == "ends":
        return found, _ends(found, name, own.artifact)
    if scenario.extra == "tebibyte":
        return found, _tebibyte(found, name)
    if not ours["n"]:
        return found, []
    verdicts = against(scenario, found, ours)
    if scenario.plain:
        verdicts += _plain(found, ours, own.artifact, [e.label for e in entrants if e.tool and not e.tool.of_ours and e.tool.verifies])
    quarter = found.get(f"{name}, a quarter of the files", {"n": 0})
    if quarter["n"]:
        verdicts.append(_verdict("times as long for four times the files", ours["synced"] / quarter["synced"], most=4 * LINEAR))
    return found, verdicts


def _cell(value, form="{:.2f}"):
    return form.format(value) if value is not None else ""


def _row(entrant, m, ours):
    """One line of a scenario's table."""
    size, wire = entrant.artifact.bytes, entrant.artifact.wire
    note = "" if not entrant.tool or entrant.tool.verifies else " (does not verify)"
    if not m["n"]:
        return f"| {entrant.label} | fails: {m['failed'][0] if m['failed'] else 'not run'} " + "| " * 9 + "|"

    def per(key, by, form="{:.2f}"):
        return _cell(m[key] / by if key in m else None, form)

    faster = "" if entrant.tool and entrant.label == ours["label"] or not ours.get("synced") else f"{m['synced'] / ours['synced']:.2f}"
    failed = f", {len(m['failed'])} failed" if m["failed"] else ""
    return " | ".join([f"| {entrant.label}{note}", _cell(m["seconds"]), _cell(m["synced"]), faster, per("cpu", size / GB), per("machineCpu", size / GB),
                       per("rss", MIB, "{:.0f}"), per("written", size), per("fetched", wire, "{:.3f}"), _cell(m.get("connections"), "{:.0f}"),
                       f"{m['n']}{failed} |"])


def circumstances(about):
    m = about["machine"]
    return (f"{about['when']}, commit {about['commit']}; {m['cores']} cores of {m['cpu']}"
            f"{' (SHA-NI)' if m['shaNi'] else ''}, {m['memoryGiB']} GiB, Linux {m['kernel']}, {m['filesystem']}. Medians of {about['rounds']} rounds, by turns; "
            f"models of {about['size']} MiB."
            f"{' Knobs of the registry: ' + ', '.join(f'{k}={v}' for k, v in about['knobs'].items()) + '.' if about['knobs'] else ''}"
            f"{' Left out, because not installed: ' + ', '.join(about['absent']) + '.' if about['absent'] else ''}")


def heading(scenario):
    return f"### {scenario.number}. {scenario.title}"


def scenario_page(scenario, entrants, found, verdicts, about):
    own = next((e for e in entrants if e.tool and e.tool.of_ours), None)
    ours = dict(found.get(own.label, {}), label=own.label) if own else {"label": ""}
    model = entrants[0].artifact
    lines = [heading(scenario), "", circumstances(about), "",
             f"Blobs: {len(model.layers)}, {model.wire / MIB:,.0f} MiB. Files: {len(model.files):,}, {model.bytes / MIB:,.0f} MiB.", "",
             "| | s | s, synced | ours × | CPU-s/GB | machine CPU-s/GB | peak RSS MiB | written / size | fetched / size | connections | runs |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [_row(e, found.get(e.label, {"n": 0, "failed": []}), ours) for e in entrants]
    lowest = found.get("floor")
    if lowest and lowest["n"]:
        parts = ", ".join(f"{key} {lowest[key]:.2f}" for key in ("hash", "write", "ranges", "cpu", "pace") if key in lowest)
        lines += ["", f"The floor, seconds: {parts}."]
    busy = max((m.get("busy", 0) for m in found.values()), default=0)
    if busy > IDLE:
        lines += ["", f"**The machine was not idle**: before runs, up to {100 * busy:.0f} % of it was used by others."]
    if verdicts:
        lines += ["", "| must | is | |", "|---|--:|---|"]
        lines += [f"| {v['what']} {v['must']} | {v['value']:g} | {'yes' if v['holds'] else '**no**'} |" for v in verdicts]
    return "\n".join(lines) + "\n"


def merged(page, made, order):
    """The page with the made scenarios in their places, in the order of these headings; what stands before the first one is not ours."""
    before, *old = ("\n" + page).split("\n### ")
    _, *new = ("\n" + made).split("\n### ")
    sections = {f"### {part.partition(chr(10))[0]}": f"### {part.rstrip()}\n" for part in old + new}
    remarks = [before.strip() + "\n"] if before.strip() else []
    return "\n".join(remarks + [sections[title] for title in order if title in sections])
