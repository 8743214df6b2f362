# SPDX-License-Identifier: Apache-2.0
"""Makes the image from what `cmake --install` put into a folder; tools/image calls it. Standard library only."""
import argparse
import os
import shutil
import time

import content
import oci
import sbom


def arguments():
    p = argparse.ArgumentParser(prog="deploy/image")
    for flag in ("destdir", "title", "description", "version", "revision", "url", "seconds"):
        p.add_argument("--" + flag, required=True)
    p.add_argument("--name", help="of the image in the archive; without a tag it gets the version")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", help="a folder for oci/, modelstage.oci.tar and sbom.spdx.json")
    where.add_argument("--root", help="a new folder for the image's files alone")
    return p.parse_args()


def main():
    a = arguments()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(a.seconds)))
    tree, packages, closure = content.make(a.destdir)
    bill = sbom.make(tree, packages, closure, {"title": a.title, "version": a.version, "revision": a.revision, "created": created,
                                               "url": a.url, "licence": "Apache-2.0"})
    tree.file(sbom.PATH, bill)
    if a.root:
        os.makedirs(a.root)
        tree.write(a.root)
        return

    labels = {"created": created, "description": a.description, "licenses": "Apache-2.0", "revision": a.revision, "source": a.url,
              "title": a.title, "url": a.url, "version": a.version}
    labels = {"org.opencontainers.image." + key: value for key, value in labels.items()}
    name = a.name or f"localhost/{a.title}"
    name = name if ":" in name.rpartition("/")[2] else f"{name}:{a.version}"
    image = oci.Image(tree, labels, closure.architecture, int(a.seconds), name)
    os.makedirs(a.out, exist_ok=True)
    layout = os.path.join(a.out, "oci")
    shutil.rmtree(layout, ignore_errors=True)
    image.write_layout(layout)
    image.write_archive(os.path.join(a.out, "modelstage.oci.tar"))
    with open(os.path.join(a.out, "sbom.spdx.json"), "wb") as f:
        f.write(bill)
    size = sum(map(len, image.blobs.values()))
    print(f"{a.out}/modelstage.oci.tar\n{name} {closure.architecture} {image.manifest['digest']}\n"
          f"{size / 2**20:.1f} MiB, {len(closure.libraries)} libraries from {len(packages)} packages")


if __name__ == "__main__":
    main()
