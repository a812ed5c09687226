# SPDX-License-Identifier: BSD-3-Clause
"""Write docs/losses: a page for each family, from the docstrings of its losses, their plots and measured errors.

The errors are those that docs/accuracy.py measured. Needs the extras plot and test.
"""

import argparse
import functools
import inspect
import io
import itertools
import re
import sys
import textwrap
from pathlib import Path

import numpy as np

import accuracy
import fastloss as fl
from fastloss import _kernels

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "losses"
SECTIONS = "Formula|Args|Shapes|Raises|Accuracy|Example|References"

# What plots show, by the words that a loss describes its arguments with: values of y_true, the range of y_pred.
TARGETS = {
    "real": (-1, 1.5),
    "sign": (-1, 1),
    "binary": (0, 1),
    "count": (0, 1, 3),
    "positive": (0.5, 1, 3),
    "distribution": (0.2, 0.8),
}
PREDICTIONS = {
    "real": (-3, 3),
    "positive": (0.5, 6),
    "logit": (-5, 5),
    "logits": (-5, 5),
    "probability": (0.1, 0.9),
    "distribution": (0.1, 0.9),
}
# Losses of a row are drawn for two classes: y_true where the first one is true or the other, and y_pred of that other.
CLASSES = {"label": np.array([0, 1]), "one_hot": np.eye(2)}
OTHER_CLASS = {"real": "0", "logits": "0", "distribution": "1 - y_pred"}

# Okabe and Ito's, and dashes where lines coincide
STYLES = (("#0072b2", "-"), ("#d55e00", (0, (5, 2))), ("#009e73", (0, (1.5, 1.5))))
SETTINGS = {
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "path.simplify_threshold": 0.1,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastloss",
}


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    files = {**pages(accuracy.read()), **{plot_name(cls): plot(cls) for cls in fl.losses.native_classes() if is_drawn(cls)}}
    for path in FOLDER.iterdir():
        if path.suffix in (".md", ".svg") and path.name not in files:
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


# Pages


def pages(measured):
    """{name of the file: text}"""
    families = {}
    for cls in fl.losses.native_classes():
        families.setdefault(sys.modules[cls.__module__], []).append(cls)
    out = {"README.md": index(families)}
    for module, classes in families.items():
        parts = [f"# {family(classes[0]).capitalize()}", f"{module.__doc__} Back to [all losses](README.md)."]
        for cls in classes:
            parts += section(cls, [found for found in measured["losses"].values() if found["class"] == cls.__name__])
        out[f"{family(classes[0])}.md"] = "\n\n".join(parts) + "\n"
    return out


def family(cls):
    return cls.__module__.rpartition(".")[2]


def index(families):
    rows = ["| class | function | aliases | family | Hessian | from logits | |", "|---|---|---|---|---|---|---|"]
    for cls in itertools.chain(*families.values()):
        cells = (
            linked(cls.__name__),
            f"`{cls.function.__name__}`",
            ", ".join(f"`{alias}`" for alias in cls.aliases),
            f"[{family(cls)}]({family(cls)}.md)",
            "yes" if cls.has_hessian else "no",
            "yes" if "from_logits" in inspect.signature(cls).parameters else "no",
            prose(inspect.getdoc(cls).partition("\n")[0]),
        )
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n\n".join([
        "# Losses",
        "A class reduces, a function gives one loss for each sample. *Hessian*: whether `grad_and_hess` gives its "
        "diagonal; *from logits*: whether there is an argument `from_logits`. `python docs/losses.py` writes these pages.",
        "\n".join(rows),
        f"## {fl.Loss.__name__}",
        *itertools.chain(*described(fl.Loss).values()),
        "## Accuracy",
        "The tables of errors hold the largest error in ulp that [accuracy](../accuracy.md) shows; in brackets, where it is "
        "more, the one without the allowance for terms that cancel whoever computes them.",
    ]) + "\n"


def section(cls, errors):
    """A loss as a list of paragraphs."""
    signatures = [
        textwrap.fill(f"{f.__name__}{inspect.signature(f)}", 100, subsequent_indent=" " * (len(f.__name__) + 1))
        for f in (cls, cls.function)
    ]
    parts = described(cls)
    parts[""] = [f"## {cls.__name__}", *parts[""], fenced("python", "\n".join(signatures))]
    if is_drawn(cls):
        parts["Formula"] += [f"![{cls.__name__} against y_pred]({plot_name(cls)})", caption(cls)]
    if errors:
        parts["Accuracy"].append(table(errors))
    return list(itertools.chain(*parts.values()))


def caption(cls):
    if cls().target not in CLASSES:
        return "With default arguments."
    others = [f"`{OTHER_CLASS[loss.prediction]}`" for loss in cls.variants()]
    if len(others) > 1:
        others = [f"{other} ({loss.prediction})" for other, loss in zip(others, cls.variants(), strict=True)]
    return f"With default arguments and two classes; where one has `y_pred`, the other has {' or '.join(others)}."


def described(cls):
    """The sections of the docstring, each a list of paragraphs in Markdown; that without a name is the first."""
    sections, literal = {"": []}, False
    paragraphs = sections[""]
    for block in re.split(r"\n\n+", inspect.getdoc(cls)):
        head, body = re.fullmatch(r"((?:\S.*\n?)*)((?:.*\n?)*)", block).groups()
        if name := re.match(rf"({SECTIONS})\b", head):
            paragraphs = sections.setdefault(name[1], [])
            head = f"**{name[1]}**{head[name.end() :]}"
        if head:
            paragraphs.append(prose(head))
            literal = head.rstrip().endswith("::")
        if body:
            body = textwrap.dedent(body)
            kind = "text" if literal else "python" if body.startswith(">>>") else None
            paragraphs.append(fenced(kind, body) if kind else items(body))
    return sections


def items(text):
    """`name: description` a line, with indented continuations, as a list."""
    entries = re.findall(r"^(\S[^:]*): *((?:.*\n?)(?:^ .*\n?)*)", text, re.MULTILINE)
    return "\n".join(f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {prose(rest)}" for names, rest in entries)


def fenced(language, text):
    return f"```{language}\n{text.rstrip()}\n```"


def prose(text):
    text = re.sub(r"::$", ":", " ".join(text.split()))
    return re.sub("``(.+?)``|`(.+?)`", lambda match: f"`{match[1]}`" if match[1] else linked(match[2]), text)


def linked(name):
    """A name as code, with a link to its section if it has one."""
    pages = {fl.Loss.__name__: "README"} | {cls.__name__: family(cls) for cls in fl.losses.native_classes()}
    return f"[`{name}`]({pages[name]}.md#{name.lower()})" if name in pages else f"`{name}`"


def table(errors):
    """Of what was measured of the cases of a loss, in ulp."""
    outputs = list(errors[0]["float32"])
    lines = [f"| ulp | {' | '.join(accuracy.OUTPUTS[name] for name in outputs)} |", "|---|" + "--:|" * len(outputs)]
    for found in errors:
        for dtype in accuracy.DTYPES:
            title = f"{dtype}, `{found['arguments']}`" if found["arguments"] else dtype
            lines.append(f"| {title} | {' | '.join(accuracy.cell(found[dtype][name]) for name in outputs)} |")
    return "\n".join(lines)


# Plots


@functools.cache
def is_drawn(cls):
    """Whether the loss is a function of one y_true and one y_pred, or of the classes of a row."""
    kind = _kernels.registry().get(cls.function.__name__, {}).get("kind", "")
    return kind.startswith(("POINTWISE", "POWER")) or (cls().target in CLASSES and cls().prediction in OTHER_CLASS)


def plot_name(cls):
    return f"{cls.function.__name__}.svg"


def plot(cls):
    """Value, gradient and Hessian side by side, a row for each kind of y_pred; SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    variants, outputs = cls.variants(), list(accuracy.OUTPUTS)[: 3 if cls.has_hessian else 2]
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **SETTINGS}):
        figure = Figure(figsize=(2.6 * len(outputs), 0.4 + 2 * len(variants)), layout="constrained")
        grid = figure.subplots(len(variants), len(outputs), squeeze=False)
        for row, loss in zip(grid, variants, strict=True):
            for (label, x, results), (color, dashes) in zip(curves(loss), STYLES, strict=False):
                for axes, name in zip(row, outputs, strict=True):
                    axes.plot(x, without_jumps(results[name]), color=color, linestyle=dashes, label=label, clip_on=False)
            for axes in row:
                if axes.dataLim.height == 0:
                    axes.set_ylim(axes.dataLim.y0 - 1, axes.dataLim.y0 + 1)
                axes.locator_params(nbins=5)
                axes.spines[["top", "right"]].set_visible(False)
                axes.set_xlabel(f"y_pred ({loss.prediction})" if len(variants) > 1 else "y_pred")
        for axes, name in zip(grid[0], outputs, strict=True):
            axes.set_title(accuracy.OUTPUTS[name], fontsize="medium")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return compact(file.getvalue())


def curves(loss):
    """(label, y_pred, {output: values}) for each y_true"""
    loss.reduction = None
    x = np.linspace(*PREDICTIONS[loss.prediction], 601)
    y_pred = x[:, None]
    if loss.target in CLASSES:
        y_pred = np.stack([x, np.zeros_like(x) if OTHER_CLASS[loss.prediction] == "0" else 1 - x], axis=-1)
        cases = zip(("y_pred of the true class", "y_pred of the other class"), CLASSES[loss.target], strict=True)
    else:
        cases = ((f"y_true = {y}", np.array([y], np.float64)) for y in TARGETS[loss.target])
    for label, y in cases:
        y_true = np.broadcast_to(y, (len(x), *y.shape))
        value, gradient = loss.value_and_grad(y_true, y_pred)
        results = {"value": value, "gradient": gradient[:, 0]}
        if loss.has_hessian:
            results["hessian"] = loss.grad_and_hess(y_true, y_pred)[1][:, 0]
        yield label, x, results


def without_jumps(y):
    """A gap where the function jumps."""
    jumps = np.abs(np.diff(y, prepend=y[0])) > 0.2 * np.ptp(y)
    return np.where(jumps, np.nan, y)


def compact(svg):
    """Fewer bytes for the same picture: a class for each style, no groups, digits or white space that nobody sees."""
    styles = {}

    def rounded(match):
        return f"{float(match[1]):.1f}".removesuffix(".0") if match[1] else match[0]

    svg = "<svg" + svg.partition("<svg")[2]
    svg = re.sub(r'style="(.*?)"', lambda match: f'class="{styles.setdefault(match[1], f"s{len(styles)}")}"', svg)
    svg = re.sub(r">[^<]+<|(\d+\.\d+)", rounded, svg)
    svg = re.sub(r'</?g\b.*?>| transform="rotate\(-0 .*?\)"', "", svg)
    svg = re.sub(r"\s*\n(?:L )?\s*", " ", svg).replace("> <", ">\n<").replace(' "', '"').strip()
    rules = "".join(f".{name}{{{style}}}\n" for style, name in styles.items())
    return svg.replace("</style>", f"\n{rules}</style>", 1) + "\n"


if __name__ == "__main__":
    main()
