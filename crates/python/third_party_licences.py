"""Writes the licences of all code of others in the command and the models, for the wheel of `just wheel`.

    python3 third_party_licences.py TARGET FILE

The packages are those that cargo links for TARGET, such as x86_64-unknown-linux-gnu: dependencies of builds and tests,
and procedural macros, leave nothing in the binaries. A package under a licence that is not in ACCEPTED, and one
without a text, end the program with an error.
"""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

# Licences that ask for no more than their text, and MPL-2.0, which asks for the address of the sources.
ACCEPTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-0", "MPL-2.0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip

# The licences of packages that have no text of their own.
WITHOUT_TEXT = {
    "MIT": re.sub(r"Copyright .*\n\n", "", (REPOSITORY / "LICENSE-MIT").read_text()),
    "Zlib": """This software is provided 'as-is', without any express or implied warranty. In no event will the authors be held
liable for any damages arising from the use of this software.

Permission is granted to anyone to use this software for any purpose, including commercial applications, and to alter
it and redistribute it freely, subject to the following restrictions:

1. The origin of this software must not be misrepresented; you must not claim that you wrote the original software. If
   you use this software in a product, an acknowledgment in the product documentation would be appreciated but is not
   required.
2. Altered source versions must be plainly marked as such, and must not be misrepresented as being the original
   software.
3. This notice may not be removed or altered from any source distribution.""",
}

TEXT = re.compile(r"((mit|apache)_licen[cs]e|(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?)", re.IGNORECASE)

HEAD = """The code of others in fedpipe
=============================

fedpipe itself is under MIT or Apache-2.0, at your choice. The command and the models contain the packages below. The
sources of each are at https://crates.io/crates/NAME/VERSION, and those of the last ones at the addresses beside them.
"""


def is_accepted(expression):
    """Returns True if one alternative of an SPDX expression without nested brackets has accepted licences alone."""
    alternatives = re.split(r" OR |/", expression.replace("(", "").replace(")", ""))
    return any(all(part.strip() in ACCEPTED for part in alternative.split(" AND ")) for alternative in alternatives)


def cargo(command, *words):
    """Returns what cargo prints about the command and the models, with the features of the wheel."""
    features = ["--locked", "--features", "fedpipe/parquet", "--manifest-path", str(REPOSITORY / "Cargo.toml")]
    return subprocess.run(["cargo", command, *features, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def linked_packages(target):
    """Returns the packages of others that are linked into the command or a model, sorted by name."""
    # `cargo metadata` alone has dependencies that no feature switches on, too.
    tree = cargo("tree", "--target", target, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    packages = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", target))["packages"]
    others = [package for package in packages if package["source"] is not None]
    others = [package for package in others if (package["name"], f"v{package['version']}") in linked]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def texts(package):
    """Returns the licences and notices in a package: those at its root, and of sources in C those in all folders."""
    root = Path(package["manifest_path"]).parent
    paths = root.rglob("*") if package["links"] else root.iterdir()
    found = sorted(path for path in paths if TEXT.fullmatch(path.name) and path.is_file())
    # A folder with a COPYING beside its LICENSE offers the GPL as another choice.
    licences = {path.parent for path in found if path.name.lower().startswith("licen")}
    found = [path for path in found if not (path.name == "COPYING" and path.parent in licences)]
    own = [path.read_text(errors="replace") for path in found]
    # A link to a file outside of the package became a file with the path.
    return [text for text in own if text.split()[1:]]


def others_than_packages():
    """Returns what is linked besides cargo's packages: its name, its licence, its address and its texts."""
    sysroot = Path(subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip())
    documents = sysroot / "share/doc/rust"
    # The notices of the library's own dependencies are a page of HTML.
    library = html.unescape(re.sub(r"<[^>]*>", "", (documents / "COPYRIGHT-library.html").read_text()))
    library = re.sub(r"\n\s*\n+", "\n\n", library)
    found = [("Rust's standard library", "MIT OR Apache-2.0", "https://github.com/rust-lang/rust", [library])]
    try:
        import ziglang
    except ImportError:
        pass
    else:
        # It links its own libunwind and compiler-rt in the place of libgcc.
        zig = Path(ziglang.__file__).parent
        unwind = (zig / "lib/libunwind/LICENSE.TXT").read_text()
        found.append(("LLVM's libunwind", "Apache-2.0 WITH LLVM-exception", "https://github.com/llvm/llvm-project", [unwind]))
        found.append(("Zig's compiler-rt", "MIT", "https://codeberg.org/ziglang/zig", [(zig / "LICENSE").read_text()]))
    font = (REPOSITORY / "crates/report/assets/LICENSE-DejaVu").read_text()
    found.append(("the font DejaVu Sans", "Bitstream Vera", "https://dejavu-fonts.github.io", [font]))
    sample = (REPOSITORY / "crates/data/sample/README.md").read_text().split("## Licence\n")[1]
    found.append(("2,500 images of Fashion-MNIST", "MIT", "https://github.com/zalandoresearch/fashion-mnist", [sample]))
    return found


def document(target):
    """Returns the whole text, with each licence once."""
    listed, by_text = [HEAD], {}
    entries = []
    for package in linked_packages(target):
        name, licence = f"{package['name']} {package['version']}", package["license"] or ""
        if not is_accepted(licence):
            sys.exit(f"error: {name} is under {licence!r}, which is not accepted; see ACCEPTED in {__file__}")
        own = texts(package)
        if not own:
            if licence not in WITHOUT_TEXT:
                sys.exit(f"error: {name} has no text of its licence {licence}; see WITHOUT_TEXT in {__file__}")
            authors = ", ".join(package["authors"]) or f"the authors of {name}"
            own = [f"Copyright {authors}\n\n{WITHOUT_TEXT[licence]}"]
        entries.append((name, licence, "", own))
    for name, licence, address, own in entries + others_than_packages():
        listed.append(f"* {name}: {licence}{'; ' if address else ''}{address}")
        for text in own:
            names = by_text.setdefault(" ".join(text.split()), (text.strip("\n"), []))[1]
            if name not in names:
                names.append(name)
    rule = "-" * 80
    parts = [f"{rule}\n{', '.join(names)}\n{rule}\n\n{text}\n" for text, names in by_text.values()]
    return "\n".join(listed) + "\n\n" + "\n".join(parts)


def main():
    target, file = sys.argv[1:]
    Path(file).write_text(document(target))


if __name__ == "__main__":
    main()
