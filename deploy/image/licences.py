# SPDX-License-Identifier: Apache-2.0
"""From Debian's copyright files to SPDX licence expressions, as far as they can be read by a program.

A machine-readable file (DEP-5) names a licence for each group of the source package's files. The expression is all of them
joined by AND: what is in the library is among them, and nothing is left out. A name that SPDX does not have becomes a
LicenseRef that points to the file, which is in the image.
"""
import re

# The short names of DEP-5, and what people write in their place.
SPDX = {
    "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0", "artistic": "Artistic-1.0-Perl", "beerware": "Beerware",
    "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd3": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause",
    "bsd-4-clause-uc": "BSD-4-Clause-UC", "cc0-1.0": "CC0-1.0", "curl": "curl", "expat": "MIT", "mit": "MIT",
    "fsful": "FSFUL", "fsfullr": "FSFULLR", "isc": "ISC", "latex2e": "Latex2e", "mit-cmu": "MIT-CMU", "mpl-1.1": "MPL-1.1",
    "mpl-2.0": "MPL-2.0", "oldap-2.8": "OLDAP-2.8", "openldap-2.8": "OLDAP-2.8", "openssl": "OpenSSL", "rsa-md": "RSA-MD",
    "x11": "X11", "zlib": "Zlib",
}
GNU = re.compile(r"(?P<name>[LA]?GPL|GFDL)-?v?(?P<version>[\d.]+)(?P<later>\+)?", re.I)

# Prose that a person has read; by source package, the library's own licence.
READ = {"c-ares": "MIT", "gcc-12": "GPL-3.0-or-later WITH GCC-exception-3.1", "glibc": "LGPL-2.1-or-later",
        "gnutls28": "LGPL-2.1-or-later", "krb5": "MIT", "libtasn1-6": "LGPL-2.1-or-later", "rtmpdump": "LGPL-2.1-or-later"}


def _name(text, unknown):
    text = " ".join(text.split())
    if text.lower() in SPDX:
        return SPDX[text.lower()]
    gnu = GNU.fullmatch(text)
    if gnu:
        version = gnu["version"] if "." in gnu["version"] else gnu["version"] + ".0"
        return f"{gnu['name'].upper()}-{version}-{'or-later' if gnu['later'] else 'only'}"
    ref = "LicenseRef-Debian-" + re.sub("[^A-Za-z0-9.]+", "-", re.sub(r"\+(?!\w)", "-or-later", text)).strip("-")
    unknown[ref] = text
    return ref


def _terms(text, unknown):
    """The terms of one License: line that hold together. An "or" joins what stands next to it."""
    terms = set()
    for part in re.split(r",?\s+and\s+", text):
        names = [_name(n, unknown) for n in re.split(r",?\s+or\s+|_or_", part)]
        terms.add(f"({' OR '.join(names)})" if len(names) > 1 else names[0])
    return terms


def declared(source, copyright_text):
    """(expression or NOASSERTION, {LicenseRef: Debian's name}, where it is from)"""
    if source in READ:
        return READ[source], {}, "read by a person in Debian's copyright file: the licence of the library"
    if not re.match(r"Format:.*copyright-format", copyright_text):
        return "NOASSERTION", {}, "Debian's copyright file is not machine-readable"
    unknown, terms = {}, set()
    for paragraph in re.split(r"\n\s*\n", copyright_text):
        line = re.search(r"^License:[ \t]*(\S.*)$", paragraph, re.M)
        if line and re.search(r"^Files:", paragraph, re.M):
            terms |= _terms(line[1].strip(), unknown)
    return " AND ".join(sorted(terms)) or "NOASSERTION", unknown, "all that Debian's copyright file names for the source package"
