# SPDX-License-Identifier: Apache-2.0
"""The bill of materials, SPDX 2.3 in JSON: every file of the image with its digests, the package that it is from, and licences.

The document is in the image itself and cannot have its own digest; it is named as excluded.
"""
import hashlib
import json
import os
import urllib.parse

import licences

PATH = "usr/share/doc/modelstage/sbom.spdx.json"
DOCUMENT, IMAGE, OURS = "SPDXRef-DOCUMENT", "SPDXRef-Image", "SPDXRef-Package-modelstage"


def _package(spdx_id, name, version, files, **more):
    """One package with its files: [(path, entry, id of the file)]."""
    package = {"SPDXID": spdx_id, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION",
               "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
               "filesAnalyzed": bool(files), **more}
    if files:
        sums = sorted(e.digest("sha1") for _, e, _ in files)
        package["packageVerificationCode"] = {"packageVerificationCodeValue": hashlib.sha1("".join(sums).encode()).hexdigest()}
        package["licenseInfoFromFiles"] = ["NOASSERTION"]
    return package


def _file(path, entry, spdx_id):
    kind = "BINARY" if entry.data.startswith(b"\x7fELF") else "TEXT"
    return {"SPDXID": spdx_id, "fileName": "./" + path, "fileTypes": [kind], "licenseConcluded": "NOASSERTION",
            "licenseInfoInFiles": ["NOASSERTION"], "copyrightText": "NOASSERTION",
            "checksums": [{"algorithm": a.upper(), "checksumValue": entry.digest(a)} for a in ("sha1", "sha256")]}


def _debian(p, spdx_id, files, release, texts, refs):
    expression, unknown, comment = licences.declared(p.source, texts[p.name])
    for ref, name in unknown.items():
        refs.setdefault(ref, (name, p.name))
    purl = (f"pkg:deb/debian/{urllib.parse.quote(p.name)}@{urllib.parse.quote(p.version, safe='~')}"
            f"?arch={p.architecture}&distro=debian-{release}")
    return _package(
        spdx_id, p.name, p.version, files, supplier=f"Organization: {p.maintainer}", licenseDeclared=expression, licenseComments=comment,
        sourceInfo=f"built from Debian's source package {p.source} {p.source_version}",
        primaryPackagePurpose="LIBRARY" if any(e.data.startswith(b"\x7fELF") for _, e, _ in files) else "OTHER",
        externalRefs=[{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
        **({"homepage": p.homepage} if p.homepage else {}))


def _loads(closure, files, ids):
    """Pairs of packages, one of which has a program or a library that loads one of the other's."""
    of_path = {e.origin: ids[e.package] for _, e, _ in files if e.origin}

    def owner(path):
        return of_path.get(os.path.realpath(path), OURS)
    return sorted({(owner(a), owner(b)) for a, needed in closure.needs.items() for b in needed if owner(a) != owner(b)})


def make(tree, packages, closure, about):
    """The document's bytes. about: title, version, revision, created, url, licence."""
    files = [(path, e, f"SPDXRef-File-{i}") for i, (path, e) in enumerate(tree.files())]
    ids = {name: f"SPDXRef-Package-{p.name}".replace("+", "-plus") for name, p in packages.items()} | {"": OURS}
    own = {name: [f for f in files if f[1].package == name] for name in ids}
    texts = {p.name: _copyright(tree, p.name) for p in packages.values()}
    release = tree.entries["etc/debian_version"].data.decode().strip().partition(".")[0]
    name = f"{about['title']}-{about['version']}-{closure.architecture}"
    fingerprint = hashlib.sha256("".join(f"{p} {e.digest()}\n" for p, e, _ in files).encode()).hexdigest()
    refs = {}

    image = _package(IMAGE, name, about["version"], [], primaryPackagePurpose="CONTAINER",
                     comment="The container image. Its files belong to the packages that it contains.")
    ours = _package(OURS, about["title"], about["version"], own[""], licenseDeclared=about["licence"],
                    primaryPackagePurpose="APPLICATION", sourceInfo=f"commit {about['revision']}", homepage=about["url"])
    ours["packageVerificationCode"]["packageVerificationCodeExcludedFiles"] = ["./" + PATH]
    debs = [_debian(p, ids[n], own[n], release, texts, refs) for n, p in packages.items()]
    pairs = [(DOCUMENT, "DESCRIBES", IMAGE)] + [(IMAGE, "CONTAINS", i) for i in ids.values()]
    pairs += [(ids[e.package], "CONTAINS", i) for _, e, i in files]
    pairs += [(a, "DEPENDS_ON", b) for a, b in _loads(closure, files, ids)]
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": DOCUMENT, "name": name,
        "documentNamespace": f"{about['url']}/spdx/{name}-{fingerprint}",
        "creationInfo": {"created": about["created"], "creators": [f"Tool: tools/image-{about['version']}"]},
        "packages": [image, ours, *debs],
        "files": [_file(*f) for f in files],
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in pairs],
        "hasExtractedLicensingInfos": [
            {"licenseId": ref, "name": text, "extractedText": f'"{text}" of /usr/share/doc/{package}/copyright, which is in the image.'}
            for ref, (text, package) in sorted(refs.items())],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _copyright(tree, name):
    """Some packages share the folder of another."""
    folder = tree.entries[f"usr/share/doc/{name}"]
    path = f"usr/share/doc/{folder.target or name}/copyright"
    return tree.entries[path].data.decode(errors="replace")
