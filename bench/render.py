# SPDX-License-Identifier: BSD-3-Clause
"""The pages and plots of docs/performance.json. Every figure in them comes from there."""

import re
import statistics
from pathlib import Path

from peers import MODULES
from plan import SIZES
from reasons import FASTER, NOT_MET
from targets import CRITERIA, EXAMPLES, LIMIT, NATIVE, PERCENT, TITLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PLOTS = {"speed": ROOT / "docs" / "performance-speed.svg", "limit": ROOT / "docs" / "performance-limit.svg"}
BEGIN, END = "<!-- begin: bench/report.py -->\n", "<!-- end: bench/report.py -->\n"

# A peer is ahead only by more than what repeats of a row differ.
AHEAD = 0.95
SHORT = {"value": "value", "value_and_grad": "value and gradient", "grad_and_hess": "gradient and Hessian"}


def write(report):
    """Everything, into docs/ and the README."""
    insert(PAGE, page(report))
    insert(README, summary(report))
    plots(report)


def insert(path, text):
    """Replace what is between the two markers in the file."""
    before, begin, rest = path.read_text(encoding="ascii").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path}: expected the lines {BEGIN.strip()} and {END.strip()}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="ascii")


def page(report):
    """What docs/performance.md has between its markers."""
    parts = [
        host(report),
        "### Targets",
        targets(report),
        "### Where a peer is faster",
        faster(report),
        "### Limits of this machine, GB/s",
        limits(report),
        *rows(report),
    ]
    return "\n\n".join(parts) + "\n"


def host(report):
    machine, build, count = report["machine"], report["fastloss"], len(report["rows"])
    of = "" if count == report["planned"] else f" of {report['planned']}"
    versions = ", ".join(f"{name} {version}" for name, version in report["peers"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, load {report['load']:.1f} before; fastloss "
        f"{build['version']}, {build['isa']}, {build['compiler']}, {build['threading']}; Python {build['python']}; "
        f"{versions}. {count}{of} rows. Limits by {report['limits']['source']}."
    )


def table(head, lines, numbers):
    """Markdown; the columns from `numbers` on are aligned to the right."""
    rule = ["---" if i < numbers else "--:" for i in range(len(head))]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(line)} |" for line in lines)])


def outcome(report, criterion):
    """Of a criterion: the rows that serve it, by their numbers, the worst first."""
    found = [
        (criterion.measure(row), row)
        for row in report["rows"]
        if criterion.target in row["targets"] and row["operation"] == criterion.operation
    ]
    found = [(number, row) for number, row in found if number is not None]
    return sorted(found, key=lambda one: one[0], reverse=criterion.most is not None)


def targets(report):
    lines = []
    for criterion in CRITERIA:
        found = outcome(report, criterion)
        if not found:
            cells = ["-", "-", "-", "not measured"]
        else:
            met = sum(criterion.met(number) for number, _ in found)
            worst, row = found[0]
            cells = [
                f"{criterion.form.format(worst)}: {work(row)}",
                criterion.form.format(statistics.median(number for number, _ in found)),
                f"{met} of {len(found)}",
                "met" if met == len(found) else "not met",
            ]
        title = TITLES[criterion.target]
        lines.append([criterion.target, title, SHORT[criterion.operation], criterion.what, criterion.wanted(), *cells])
    head = ["", "work", "operation", "measure", "target", "worst row", "median", "rows that meet it", ""]
    missed = {criterion.target for criterion, line in zip(CRITERIA, lines, strict=True) if line[-1] == "not met"}
    reasons = "\n".join(f"- {target}: {why}" for target, why in NOT_MET.items() if target in missed)
    why = "Why not, and what was tried ([performance-notes.md](performance-notes.md) has more):"
    return f"{table(head, lines, len(head))}\n\n{why}\n\n{reasons}"


def work(row):
    shape = " x ".join(map(str, row["shape"]))
    dtype = "" if row["dtype"] == "float32" else f", {row['dtype']}"
    return f"{row['label']} {shape}{dtype}"


def reason(row, peer):
    """The letter of the first reason that names what is described so."""
    described = f"{work(row)}, {row['operation']}, {peer}"
    return next((letter for letter, (pattern, _) in FASTER.items() if re.search(pattern, described)), "none known")


def faster(report):
    lines = [
        [
            work(row),
            SHORT[row["operation"]],
            str(row["threads"]),
            name,
            f"{row['times'][name]['ratio']:.2f}",
            reason(row, name),
        ]
        for row in report["rows"]
        for name in row["peers"]
        if row["times"][name]["ratio"] < AHEAD
    ]
    if not lines:
        return "No peer is faster by more than 5 % in any row."
    used = {line[-1] for line in lines}
    text = "Rows in which a peer takes less than 95 % of the time of fastloss, and why:"
    reasons = "\n".join(f"- {letter}: {why}" for letter, (_, why) in FASTER.items() if letter in used)
    head = ["loss", "operation", "threads", "peer", "its time / that of fastloss", "why"]
    return f"{text}\n\n{reasons}\n\n{table(head, lines, 4)}"


def limits(report):
    speeds = report["limits"]["speeds"]
    kinds = list(speeds[0]["GB/s"])
    lines = [
        [f"{one['bytes'] / 2**20:g} MB", str(one["threads"]), *(f"{one['GB/s'][kind]:.0f}" for kind in kinds)]
        for one in speeds
    ]
    return table(["array", "threads", *kinds], lines, 1)


def rows(report):
    """A table for each dtype, operation and number of threads: times, the share of the limit, ratios of all others."""
    groups = {}
    for row in report["rows"]:
        if row["kind"] == "speed":
            groups.setdefault((row["operation"], row["dtype"], row["threads"]), []).append(row)
    for (operation, dtype, threads), group in groups.items():
        others = [name for name in MODULES if any(name in row["times"] for row in group)]
        variants = dict.fromkeys(name for row in group for name in row["times"])
        others += [name for name in variants if name not in (*others, NATIVE, LIMIT)]
        title = SHORT[operation]
        yield f"### {title[0].upper()}{title[1:]}, {dtype}, {threads} thread{'s' * (threads > 1)}"
        lines = [
            [
                row["label"],
                " x ".join(map(str, row["shape"])),
                duration(row["times"][NATIVE]["seconds"]),
                PERCENT.format(row["fraction"]) if "fraction" in row else "",
                *(f"{row['times'][name]['ratio']:.2f}" if name in row["times"] else "" for name in others),
                " ".join(row["targets"]),
            ]
            for row in group
        ]
        yield table(["loss", "shape", NATIVE, "of limit", *others, "serves"], lines, 2)


def duration(seconds):
    return f"{1e6 * seconds:.2f} us" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"


def summary(report):
    """The short table of the README: of the rows of the plots, the largest."""
    lines, shown = [], examples(report)
    if not shown:
        return "Not measured yet.\n"
    for row in shown:
        if row["size"] == max(other["size"] for other in shown if other["label"] == row["label"]):
            fastest = min(row["peers"], key=lambda name: row["times"][name]["ratio"], default="")
            ratios = [f"{row['times'][name]['ratio']:.1f}" if name in row["peers"] else "" for name in MODULES]
            cells = [work(row), SHORT[row["operation"]], duration(row["times"][NATIVE]["seconds"])]
            bold = [f"**{ratio}**" if name == fastest else ratio for name, ratio in zip(MODULES, ratios, strict=True)]
            lines.append([*cells, PERCENT.format(row["fraction"]), *bold])
    head = ["loss", "operation", NATIVE, "of the limit of memory", *MODULES]
    note = "Times of others over that of fastloss, 2 threads, the fastest in bold."
    return f"{table(head, lines, 2)}\n\n{note}\n"


def examples(report):
    """The rows of the plots: four losses by size."""
    found = [
        row
        for row in report["rows"]
        if row["label"] in EXAMPLES
        and row["operation"] in ("value", "value_and_grad")
        and (row["dtype"], row["threads"], row["kind"]) == ("float32", 2, "speed")
        and tuple(row["shape"]) in SIZES
    ]
    return sorted(found, key=lambda row: row["size"])


def plots(report):
    """Speed by size, of all; the share of the limit by size, of fastloss."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "fastloss", "svg.fonttype": "none", "font.size": 8})
    colors = {name: f"C{i}" for i, name in enumerate((NATIVE, *MODULES))}
    panels = [(label, operation) for operation in ("value", "value_and_grad") for label in EXAMPLES]
    figure, axes = plt.subplots(2, len(EXAMPLES), figsize=(12, 5), sharex=True, layout="constrained")
    for axis, (label, operation) in zip(axes.flat, panels, strict=True):
        chosen = [row for row in examples(report) if (row["label"], row["operation"]) == (label, operation)]
        for name in (NATIVE, *MODULES):
            times = [(row["size"], row["times"][name]["seconds"]) for row in chosen if name in row["times"]]
            points = [(size, size / seconds / 1e9) for size, seconds in times]
            if points:
                width = 2.5 if name == NATIVE else 0.8
                axis.plot(*zip(*points, strict=True), label=name, color=colors[name], marker=".", linewidth=width)
        axis.set(xscale="log", yscale="log", title=f"{label}\n{SHORT[operation]}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("10^9 elements a second")
    for axis in axes[-1]:
        axis.set_xlabel("elements")
    drawn = {line.get_label(): line for axis in axes.flat for line in axis.lines}
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=9)
    figure.savefig(PLOTS["speed"], metadata={"Date": None})
    plt.close(figure)

    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, operation in zip(axes, ("value", "value_and_grad"), strict=True):
        for label in EXAMPLES:
            chosen = [row for row in examples(report) if (row["label"], row["operation"]) == (label, operation)]
            points = [(row["size"], row["fraction"]) for row in chosen if "fraction" in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=label, marker=".")
        axis.set(xscale="log", xlabel="elements", title=SHORT[operation])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of the limit")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(PLOTS["limit"], metadata={"Date": None})
    plt.close(figure)
