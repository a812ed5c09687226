# SPDX-License-Identifier: BSD-3-Clause
"""A build of fastloss that is not the product: other flags, and sources that are edited in a copy.

What tools/sanitize.py, tools/fuzz.py and tools/mutate.py have in common. It stands in build/NAME, with an environment of its
own that has it and all packages of the one that runs the tool, which is as CONTRIBUTING.md says for development.
"""

import datetime
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "reliability"

SOURCES = ("CMakeLists.txt", "LICENSE", "README.md", "csrc", "pyproject.toml", "src")


def write_if_changed(path, data):
    """Files that stay as they are need not be compiled again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def edited(path, data, edits):
    """The file after its edits, {path: [(old, new), ...]}; one that finds nothing is an error."""
    for old, new in edits.get(path, ()):
        text = data.decode()
        if old not in text:
            raise SystemExit(f"{path} no longer has {old!r}: tools/ must follow it")
        data = text.replace(old, new).encode()
    return data


def copy_sources(folder, edits, added):
    files = [file for name in SOURCES for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))]
    paths = {file.relative_to(ROOT).as_posix(): file for file in files if file.is_file() and "__pycache__" not in file.parts}
    for path, file in paths.items():
        write_if_changed(folder / path, edited(path, file.read_bytes(), edits))
    for path, file in added.items():
        write_if_changed(folder / path, file.read_bytes())
    if missing := edits.keys() - paths.keys():
        raise SystemExit(f"there is no {', '.join(sorted(missing))}: tools/ must follow it")


ISAS = ("x86_64_v4", "x86_64_v3", "baseline")


def only(isas, edits):
    """The edits, and those that leave these instruction sets of x86-64 alone, for gcc."""
    edits = {path: list(pairs) for path, pairs in edits.items()}
    edits.setdefault("CMakeLists.txt", []).append(
        (f"set(FASTLOSS_ISAS {' '.join(ISAS)})", f"set(FASTLOSS_ISAS {' '.join(isas)})")
    )
    rows = (ROOT / "csrc" / "isa.def").read_text().splitlines(keepends=True)
    gone = [suffix for suffix in ISAS if suffix not in isas]
    dropped = [
        row for row in rows if row.startswith(tuple(f"FL_ISA_ROW({suffix}," for suffix in gone)) and row.endswith(")\n")
    ]
    edits["csrc/isa.def"] = [(row, "") for row in dict.fromkeys(dropped)]
    return edits


def build(name, *, flags="", compiler="gcc", optimize="-O1", isas=ISAS, edits=None, added=None):
    """Builds the variant; returns its Python.

    Args:
        name: Its folder in build/.
        flags: Of the compiler and the linker.
        optimize: What stands for the product's -O3.
        isas: Of csrc/isa.def, by their suffixes.
        edits: {path: [(old, new), ...]} of the copied sources.
        added: {path in the copy: file}.
    """
    folder = ROOT / "build" / name
    edits = only(isas, edits or {})
    edits["CMakeLists.txt"].append(("\n  -O3 ", f"\n  {optimize} "))
    copy_sources(folder / "source", edits, added or {})
    environment = folder / "environment"
    if not environment.exists():
        venv.create(environment)
        libraries = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
        # A path in such a file brings its packages, but not what their own files of this kind would start.
        (libraries / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--force-reinstall", "--no-index", f"-Cbuild-dir={folder / 'objects'}", "-Cinstall.strip=false",
         "-Ccmake.build-type=None", folder / "source"],
        env={**os.environ, "CC": compiler, "CFLAGS": f"{optimize} {flags}", "LDFLAGS": flags,
             "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
        check=True,
    )  # fmt: skip
    return python


def library(compiler, name):
    """A library of the compiler's, to be loaded before all others."""
    done = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    if not path.is_absolute():
        raise SystemExit(f"{compiler} has no {name}")
    return str(path.resolve())


def version(compiler):
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def record(topic, contents, key=None):
    """Writes docs/reliability/<topic>.json, or one key of it."""
    path = RECORDS / f"{topic}.json"
    # Tools that start themselves again say so.
    asked = [argument for argument in sys.argv[1:] if argument not in ("--built", "--target")]
    contents = {
        "command": " ".join(["python", Path(sys.argv[0]).resolve().relative_to(ROOT).as_posix(), *asked]),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        **contents,
    }
    if key is not None:
        contents = {**(json.loads(path.read_text()) if path.exists() else {}), key: contents}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads it meanwhile sees the one or the other.
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(contents, indent=2) + "\n")
    new.replace(path)
