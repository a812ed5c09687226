# SPDX-License-Identifier: BSD-3-Clause
"""Compare the accuracy of fastloss with other libraries; write docs/accuracy/peers.json, and from it docs/comparison.md.

Every library gets the same inputs, a sample in each call, and what it gives is compared with references of 50 digits.
Those that are not installed are left out. Each runs in a process of its own, as Keras has one backend in a process.
Needs the extras peers and test, PyTorch, and some 5 minutes. By hand:

    python bench/comparison.py            # --only REGEX chooses losses, to the terminal
    python bench/comparison.py --poor     # the calls of tests/poor_cases.py again, and no others: 2 minutes
    python bench/comparison.py --render   # the page again from the JSON
"""

import argparse
import contextlib
import datetime
import functools
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import peers
from targets import NATIVE

ROOT = Path(__file__).resolve().parents[1]
JSON = ROOT / "docs" / "accuracy" / "peers.json"
PAGE = ROOT / "docs" / "comparison.md"
COMMAND = "python bench/comparison.py"

# Who is asked, and the environment of its process.
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
ASKED = {
    "PyTorch": {},
    "JAX": {},
    "Keras": {"KERAS_BACKEND": "torch"},
    "Keras on JAX": {"KERAS_BACKEND": "jax"},
    "Keras on NumPy": {"KERAS_BACKEND": "numpy"},
    "scikit-learn": {},
}
TITLES = {"Keras": "Keras on PyTorch"}

DTYPES = ("float32", "float64")
OUTPUTS = ("value", "gradient")
GROUPS = ("ordinary", "hard")
OFF = 1e-3
NOTHING = "(?!)"
# Of the hard inputs: those numbers of classes, as JAX compiles each; and no larger samples of the structured losses, as
# their references take seconds.
WIDTHS = (2, 10, 100, 2500)
STEPS, REFERENCES = 20, 20


class Question(NamedTuple):
    """A loss, and inputs in one dtype: calls that have a single value each."""

    label: str
    dtype: str
    group: str
    calls: list  # (y_true, y_pred), with an axis of samples
    value: Any  # exact.PACKED, one for each call
    gradient: list  # exact.PACKED arrays
    strict: list  # whether the inputs' differences are exact


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="ask nothing: write the page from the JSON")
    parser.add_argument("--poor", action="store_true", help="ask again for the calls of tests/poor_cases.py alone")
    parser.add_argument("--only", default="", metavar="REGEX", help="the losses whose labels match, to the terminal")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    if options.worker:
        work(*options.worker)
    elif options.render:
        PAGE.write_text(page(json.loads(JSON.read_text(encoding="ascii"))), encoding="ascii")
    elif options.only:
        print(page(measured(options.only)))
    else:
        report = measured(NOTHING if options.poor else "")
        if options.poor:
            report = {**json.loads(JSON.read_text(encoding="ascii")), "poor": report["poor"]}
        JSON.parent.mkdir(exist_ok=True)
        JSON.write_text(text_of(report), encoding="ascii")
        PAGE.write_text(page(report), encoding="ascii")


# Inputs and exact results


def label_of(name, from_logits):
    """The benchmarks' label of a class."""
    from plan import LOSSES

    kinds = {(type(loss).__name__, getattr(loss, "from_logits", None)): label for label, loss in LOSSES.items()}
    return kinds[name, from_logits]


@functools.cache
def cases():
    """{label: case}, those without weights of classes, which others lack."""
    from cases import CASES, STRUCTURED

    every = [case for case in (CASES | STRUCTURED).values() if not getattr(case, "class_weight", "")]
    return {label_of(case.loss, getattr(case, "fixed", {}).get("from_logits")): case for case in every}


def questions(only):
    """All questions about the losses whose labels match."""
    from cases import STRUCTURED
    from peers.hard_inputs import SORTS
    from plan import LOSSES

    asked = {label: case for label, case in cases().items() if re.search(only, label)}
    for (label, case), dtype in tqdm([(one, dtype) for one in asked.items() for dtype in DTYPES], "references"):
        groups = structured(case, dtype) if case.name in STRUCTURED else unstructured(case, LOSSES[label], dtype)
        for group, calls in groups:
            assert calls, f"no {group} inputs of {label}"
            yield Question(label, dtype, group, *zip(*calls, strict=True))
        for title, sorts in SORTS.items():
            for labels, make in sorts:
                if label in labels:
                    y, p = (x if x.dtype.kind == "i" else x.astype(dtype) for x in make(dtype))
                    yield Question(label, dtype, title, *zip(*rows(case, y, p, strict=True), strict=True))


def unstructured(case, loss, dtype):
    """(group, [(call, value, gradient, strict)]) of a loss of elements or rows."""
    from exact import samples

    y, p = case.draw(np.random.default_rng(0), (40, case.columns or 7))
    yield "ordinary", rows(case, y.astype(dtype) if y.dtype.kind == "f" else y, p.astype(dtype))
    hard = []
    for sample, results in samples(case.name, 0, dtype, 0):
        y, p = sample.y_true, sample.y_pred
        if not case.elementwise and not case.columns and p.shape[-1] not in WIDTHS:
            continue
        if loss.target == "sign":
            y = case.convert(y)
        for i in range(len(p)):
            if loss.target == "sign" and abs(y[i]) != 1:
                continue  # a definition of its own in each library
            call = (y[i : i + 1].reshape(1, -1) if not case.lacks_axis else y[i : i + 1], p[i : i + 1].reshape(1, -1))
            hard.append((call, results["value"][i], results["gradient"][i].reshape(1, -1), sample.strict))
    yield "hard", [one for one in hard if is_normal(one[0])]


def rows(case, y, p, strict=False):
    """[(call, value, gradient, strict)], each row a call."""
    from exact import evaluate_rows, object_array, pack

    results = evaluate_rows(case, case.parameters[0], y, p)
    factor = case.row_factor(p.shape[-1]) if case.elementwise else 1
    gradient = [[x.times(factor) for x in row] for row in results["gradient"]]
    gradient = pack(object_array([x for row in gradient for x in row], p.shape))
    value = pack(results["value"])
    return [((y[i : i + 1], p[i : i + 1]), value[i], gradient[i : i + 1], strict) for i in range(len(p))]


def structured(case, dtype):
    """The same of a loss whose samples are more than a row: the mean over a batch, of one sample where it can be."""
    from test_structured import evaluate

    # Libraries differ in what counts in the mean.
    drawn = (case.draw(np.random.default_rng(seed), 8) for seed in range(2000))
    ordinary = itertools.islice((batch for batch in drawn if np.all(case.counted(batch[0]))), 8)
    for group, batches in (("ordinary", ordinary), ("hard", case.samples(np.random.default_rng(0), np.dtype(dtype)))):
        calls = []
        for y, p in batches:
            p = p.astype(dtype)
            small = p.shape[1] <= STEPS if case.independent else len(p) <= REFERENCES
            parts = [(y[i : i + 1], p[i : i + 1]) for i in range(len(p))] if case.independent else [(y, p)]
            for y_true, y_pred in parts:
                if small and len(y_pred) and y_pred.size < 1000 and np.all(case.counted(y_true)):
                    weight = np.full(len(y_pred), 1 / len(y_pred))
                    values, gradients = evaluate(case, case.parameters[0], y_true, y_pred, weight)
                    calls.append(((y_true, y_pred), mean_of(values), gradients, False))
        yield group, [one for one in calls if is_normal(one[0])]


def mean_of(packed):
    """Of PACKED results, to the digits of float64: the losses have one sign."""
    mean = packed[0].copy()
    for name in ("hi", "lo", "scale", "condition"):
        mean[name] = np.mean(packed[name])
    return mean


def is_normal(call):
    """Whether no input is below the smallest normal number, which XLA takes for 0."""
    sizes = [np.abs(x[x != 0]).min(initial=1) for x in call if x.dtype.kind == "f"]
    return min(sizes, default=1) >= np.finfo(call[1].dtype).tiny


# Answers


def work(name, source, target):
    """The process of a peer: answers to the questions in one file go into another."""
    with open(source, "rb") as file:
        asked = pickle.load(file)
    warnings.simplefilter("ignore")
    module = peers.load(name)
    poor = poor_answers(name, module)  # first, as adapters of Keras change its floatx
    answers = [
        None if label is None else answer(module, label, calls)
        for label, calls in tqdm(asked["calls"], name, mininterval=10)
    ]
    own = [label for label in dict.fromkeys(label for label, _ in asked["calls"]) if not is_formula(module, label)]
    differs = {label: words for label, (_, words) in getattr(module, "DOMAIN", {}).items()}
    found = {"answers": answers, "own": own, "differs": differs, "poor": poor}
    with open(target, "wb") as file:
        pickle.dump({**found, "versions": peers.versions([name])}, file)


def is_formula(module, label):
    """Whether the library has no such function, so that it computes the textbook formula."""
    return hasattr(module, "XP") and label not in module.OWN


def answer(module, label, calls):
    """[value, and gradient if it has any, or None where another formula is theirs]; None if there is no such loss."""
    from data import Work
    from plan import LOSSES

    same = getattr(module, "DOMAIN", {}).get(label, (lambda *call: True,))[0]
    for operation in ("value_and_grad", "value"):
        found = []
        try:
            for y, p in calls:
                if not same(LOSSES[label], y, p):
                    found.append(None)
                    continue
                work = Work(label, LOSSES[label], y, p, 0.0, None)
                found.append(numbers_of(module, work, operation))
        except peers.Missing:
            continue
        return found
    return None


def numbers_of(module, work, operation):
    """Value, and gradient if asked for; NaN where it fails."""
    try:
        outputs = module.arrays(module.prepare(work, operation, 1)())
    except peers.Missing:
        raise
    except Exception:
        outputs = (np.nan, np.full(work.y_pred.shape, np.nan))[: 2 if operation == "value_and_grad" else 1]
    value, *gradient = (np.asarray(x, np.float64) for x in outputs)
    return value, *gradient


def poor_answers(name, module):
    """By index in POOR: the number, or the error as text."""
    import poor_cases as table

    ask = keras_answer if name.startswith("Keras") else own_answer
    found = {}
    for i, poor in enumerate(table.POOR):
        if poor.own:
            continue
        try:
            number = ask(table, poor, module)
        except peers.Missing:
            continue
        except Exception as error:
            number = type(error).__name__
        found[i] = number if isinstance(number, str) else float(number)
    return found


def keras_answer(table, poor, module):
    import fastloss as fl
    import test_keras
    from keras_differences import Call

    backend = os.environ["KERAS_BACKEND"]
    if poor.gradient and backend != "torch":
        raise peers.Missing("gradients are taken on PyTorch")
    given = {**table.options(poor), "arguments": poor.arguments}
    given = {name: given[name] for name in ("arguments", "reduction", "dtype") if name in given}
    weights = {k: np.asarray(getattr(poor, k)) for k in ("sample_weight", "mask") if getattr(poor, k) is not None}
    call = Call(getattr(fl, poor.loss), backend, *table.arrays(poor), **given, **weights)
    answer = test_keras.by_keras(call, poor.gradient)
    if answer.error is not None:
        raise answer.error
    found = answer.gradient if poor.gradient else answer.value
    return found.ravel()[0] if found.size else "an empty array"


def own_answer(table, poor, module):
    """Of a function of the library's own."""
    import fastloss as fl
    from data import Work

    plain = poor.sample_weight is None and poor.mask is None and poor.reduction == table.BATCH and not poor.error
    y_true, y_pred = table.arrays(poor)
    if not plain or not set(poor.arguments) <= {"from_logits", "delta"} or y_pred.ndim < 2:
        raise peers.Missing("not the same call")
    loss = getattr(fl, poor.loss)(**poor.arguments)
    label = label_of(poor.loss, getattr(loss, "from_logits", None))
    if is_formula(module, label):
        raise peers.Missing("no such loss")
    work = Work(label, loss, y_true, y_pred, 0.0, None)
    outputs = module.arrays(module.prepare(work, "value_and_grad" if poor.gradient else "value", 1)())
    return np.ravel(outputs[-1])[0]


# Errors


def measured(only):
    """What the JSON holds."""
    from report import build, machine

    asked = list(questions(only))
    found, versions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "questions"
        source.write_bytes(pickle.dumps({"calls": [(q.label, q.calls) for q in asked]}))
        for name in ASKED:
            target = Path(folder) / name
            ended = subprocess.run([sys.executable, __file__, "--worker", name, source, target], env=environment(name))
            if ended.returncode:
                print(f"{name} is left out", file=sys.stderr)
                continue
            found[name] = pickle.loads(target.read_bytes())
            versions |= found[name]["versions"]
    native = [native_answer(q) for q in asked]
    losses = []
    for i, question in enumerate(asked):
        answers = {NATIVE: native[i], **{name: x["answers"][i] for name, x in found.items()}}
        results = {name: scored(question, x) for name, x in answers.items() if x and any(one is not None for one in x)}
        losses.append({**question._asdict(), "calls": len(question.calls), "results": results})
        for name in ("value", "gradient", "strict"):
            del losses[-1][name]
    return {
        "command": COMMAND,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "fastloss": build(),
        "peers": versions,
        "own": {name: x["own"] for name, x in found.items()},
        "differs": {name: x["differs"] for name, x in found.items() if x["differs"]},
        "poor": poor_rows({name: x["poor"] for name, x in found.items()}),
        "losses": losses,
    }


def environment(name):
    paths = [str(ROOT / "bench"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    options = {**ONE_THREAD, "KERAS_HOME": tempfile.gettempdir(), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {**os.environ, **options, **ASKED[name], "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def native_answer(question):
    from plan import LOSSES

    return [LOSSES[question.label].value_and_grad(y, p) for y, p in question.calls]


def scored(question, answers):
    """{output: how many calls, the worst error, how many are off by more than OFF, the worst call if any is}"""
    compared = [(i, x) for i, x in enumerate(answers) if x is not None]
    results = {}
    for k, output in enumerate(OUTPUTS):
        if len(compared[0][1]) <= k:
            continue
        errors = [error(question, output, i, x[k]) for i, x in compared]
        worst = int(np.argmax(errors))
        off = sum(x > OFF for x in errors)
        results[output] = {"calls": len(errors), "worst": plain(errors[worst]), "off": off}
        if off:
            i, numbers = compared[worst]
            results[output]["input"] = shown(question, output, i, numbers[k])
    return results


def error(question, output, i, found):
    """The worst relative error of a call, as the tests take it; results below the normal range may be 0 instead."""
    from exact import ulp_errors

    known = np.atleast_1d(getattr(question, output)[i])
    found = np.asarray(found, np.float64).reshape(known.shape)
    errors = ulp_errors(found, known, question.dtype, blur=1, strict=question.strict[i], relative=True)
    tiny = np.finfo(question.dtype).tiny
    right = (np.abs(found) < tiny) & (np.abs(known["hi"]) < tiny)
    if output == "gradient" and (errors[~right] > OFF).any():
        right |= of_a_kink(question, i, found)
    return float(np.where(right, 0, errors).max(initial=0))


def of_a_kink(question, i, found):
    """Where a gradient is between those of the next numbers: at a kink all of these are right."""
    from exact import evaluate_rows

    case, (y, p) = cases()[question.label], question.calls[i]
    if not getattr(case, "elementwise", False):
        return np.zeros(p.shape, bool)
    sides = []
    for side in (-np.inf, np.inf):
        with np.errstate(over="ignore"):
            near = np.nextafter(p, p.dtype.type(side))
        gradient = evaluate_rows(case, case.parameters[0], y, near)["gradient"]
        sides.append([[float(x.value * case.row_factor(p.shape[-1])) for x in row] for row in gradient])
    return (np.min(sides, axis=0) <= found) & (found <= np.max(sides, axis=0))


def shown(question, output, i, found):
    """A call, and the worst element of what it gave."""
    y, p = question.calls[i]
    known = np.ravel(getattr(question, output)[i]["hi"])
    found = np.ravel(np.asarray(found, np.float64))
    with np.errstate(all="ignore"):
        away = np.nan_to_num(np.abs(found - known) / np.abs(known), nan=np.inf)
    worst = int(np.argmax(away))
    element = f" of element {worst}" if output == "gradient" and p.size > 1 else ""
    return f"y {few(y)}, p {few(p)}: {number(found[worst])}{element}, exact {number(known[worst])}"


def few(array):
    flat = np.ravel(array)
    text = ", ".join(number(x) for x in flat[:5]) + (f", ... ({flat.size})" if flat.size > 5 else "")
    return f"({text})" if flat.size > 1 else text


def number(x):
    return f"{float(x):.7g}"


def plain(x):
    """A number as JSON has it, short."""
    return float(f"{x:.2g}") if np.isfinite(x) else str(float(x))


def poor_rows(found):
    """Each call of poor_cases.py with what is right and what libraries give."""
    import poor_cases as table

    made = []
    for i, poor in enumerate(table.POOR):
        digits = functools.partial(shortened, digits=16 if poor.dtype == "float64" else 8)
        answers = {name: digits(x[i]) for name, x in found.items() if i in x}
        native = "error" if poor.error else None
        with contextlib.suppress(ValueError):
            native = digits(table.by_fastloss(poor))
        own = "".join(f", {name}={value:g}" for name, value in poor.own.items())
        exact = "error" if poor.error else "undefined" if poor.right is table.NAN else digits(table.exact(poor))
        row = {"number": poor.number, "loss": poor.loss, "what": f"{poor.what}{own}", "exact": exact}
        made.append({**row, "choice": poor.choice, "results": {NATIVE: native, **answers}})
    return made


def shortened(x, digits):
    return x if isinstance(x, str) else f"{float(x):.{digits}g}"


def text_of(report):
    """JSON with a line for each row."""
    lists = ("poor", "losses")
    text = json.dumps({**report, **{name: [] for name in lists}}, indent=1, allow_nan=False)
    for name in lists:
        lines = ",\n".join(json.dumps(row, allow_nan=False) for row in report[name])
        text = text.replace(f'"{name}": []', f'"{name}": [\n{lines}\n ]')
    return text + "\n"


# The page


ABOUT = """\
Every library gets the same inputs, one sample a call, and is compared with references of 50 digits. A cell is the
worst relative error, and in brackets how many of the calls are off by more than 1e-3; "inf" is a NaN or an infinity
where the result is a number, and 1 may be a 0 in place of it. As in the tests of fastloss, the error is relative to
the result, or to the sum of its absolute terms where they cancel whoever computes them; what any implementation loses
by first rounding a difference of inputs is taken off, elements within an ulp of a jump are left out, and at a kink
any gradient between those of its two sides is right. Inputs below the smallest normal number are left out, and
results below it may be 0, because XLA flushes them. *Ordinary* inputs are what a model gives; *hard* ones are the
samples of the tests, from 1e-30 to 1e30, with the neighbours of every kink and bound. The sorts of hard inputs are
`bench/peers/hard_inputs.py`; their errors are whole.

PyTorch is `torch.nn.functional` and JAX is optax where they have the loss; a star marks the textbook formula with
their operations, where they have not. scikit-learn is the losses of its estimators."""

POOR_WORDS = """\
What is exact, and what each library gives; float32 unless said. Where fastloss has another number than the exact one,
the last column says which choice of its documentation that is; a call with an `epsilon` shows it without the choice.
`tests/test_poor_cases.py` holds fastloss to all of them, to 4 ulp."""


def page(report):
    names = [NATIVE, *(name for name in ASKED if name in report["own"])]
    machine, versions = report["machine"], ", ".join(f"{k} {v}" for k, v in report["peers"].items())
    parts = [
        "# Accuracy against other libraries",
        f"`{report['command']}` wrote this page on {report['date']}: {machine['cpu']}, "
        f"fastloss {report['fastloss']['version']} ({report['fastloss']['isa']}), {versions}.",
        ABOUT,
        "\n".join(f"- {TITLES.get(name, name)} {words} (`{label}`): other inputs are left out."
                  for name, labels in report["differs"].items() for label, words in labels.items()),
        summary(report, names),
        "## Where another library is nearer",
        nearer(report, names),
        "## Sorts of hard inputs",
        "\n\n".join(table(report, names, lambda row: row["group"] not in GROUPS, output) for output in OUTPUTS),
    ]  # fmt: skip
    for dtype in DTYPES:
        for group in GROUPS:
            for output in OUTPUTS:
                parts.append(f"## {output.capitalize()}, {group} inputs, {dtype}")
                chosen = {"dtype": dtype, "group": group}.items()
                parts.append(table(report, names, lambda row, chosen=chosen: chosen <= row.items(), output))
    words = "In float32, where a library is off by more than 1e-3 in the value."
    parts += ["## Worst inputs", words, worst_inputs(report, names)]
    parts += ["## Calls that are numerically poor in Keras", POOR_WORDS, poor_table(report, names)]
    return "\n\n".join(parts) + "\n"


def markdown(head, lines, left, right=0):
    rule = ["--:" if left <= i < len(head) - right else "---" for i in range(len(head))]
    rows = [[cell.replace("|", "&#124;") for cell in line] for line in (head, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (rows[0], rule, *rows[1:]))


def table(report, names, chosen, output):
    several = len({(row["group"], row["dtype"]) for row in report["losses"] if chosen(row)}) > 1
    lines = []
    for row in report["losses"]:
        if chosen(row) and any(output in result for result in row["results"].values()):
            cells = [cell(report, row, name, output) for name in names]
            sort = [f"{row['group']}, {row['dtype']}"] if several else []
            lines.append([*sort, f"`{row['label']}`", str(row["results"][NATIVE][output]["calls"]), *cells])
    head = [f"{output} of"] if several else []
    return markdown([*head, "loss", "calls", *(TITLES.get(name, name) for name in names)], sorted(lines), len(head) + 1)


def cell(report, row, name, output):
    result = row["results"].get(name, {}).get(output)
    if not result:
        return ""
    star = "" if name == NATIVE or row["label"] in report["own"][name] else "*"
    off = f" ({result['off']})" if result["off"] else ""
    least = min(size(x[output]) for x in row["results"].values() if output in x)
    text = f"{size(result):.1e}" if size(result) else "0"
    return f"{f'**{text}**' if size(result) == least else text}{star}{off}"


def summary(report, names):
    """How often each library is off."""
    lines = []
    for name in names:
        results = [x for row in report["losses"] for x in row["results"].get(name, {}).values()]
        off = [x for x in results if x["off"]]
        counts = len(results), len(off), sum(x["calls"] for x in results), sum(x["off"] for x in off)
        lines.append([TITLES.get(name, name), *map(str, counts)])
    return markdown(["", "comparisons", "with a call that is off", "calls", "that are off"], lines, 1)


def size(result):
    return float(result["worst"])


def nearer(report, names):
    lines = []
    for row in report["losses"]:
        for output in OUTPUTS:
            results = {name: size(x[output]) for name, x in row["results"].items() if output in x}
            best = min(results, key=results.get)
            if results[best] < results[NATIVE]:
                errors = f"{results[NATIVE]:.1e}", f"{results[best]:.1e}", TITLES.get(best, best)
                what = f"{output}, {row['group']}, {row['dtype']}"
                lines.append((results[NATIVE] / max(results[best], 1e-20), f"`{row['label']}`", what, *errors))
    lines = [list(line[1:]) for line in sorted(lines, reverse=True)]
    compared = sum(len([1 for x in OUTPUTS if x in row["results"][NATIVE]]) for row in report["losses"])
    most = max((float(line[2]) for line in lines), default=0)
    words = (
        f"fastloss is the nearest, or as near as any, in {compared - len(lines)} of {compared} comparisons. In the others "
        f"its own worst error is at most {most:.1e}:"
    )
    return f"{words}\n\n{markdown(['loss', 'of', NATIVE, 'the nearest', ''], lines, 2)}"


def worst_inputs(report, names):
    lines = []
    for row in report["losses"]:
        for name in names:
            result = row["results"].get(name, {}).get("value", {})
            if "input" in result and row["dtype"] == "float32":
                lines.append([f"`{row['label']}`", row["group"], TITLES.get(name, name), result["input"]])
    return markdown(["loss", "inputs", "library", "call"], sorted(lines), 4)


def poor_table(report, names):
    lines = []
    for row in report["poor"]:
        results = [row["results"].get(name, "") for name in names]
        lines.append([str(row["number"]), f"`{row['loss']}`", row["what"], row["exact"], *results, row["choice"]])
    head = ["", "loss", "call", "exact", *(TITLES.get(name, name) for name in names), "choice"]
    return markdown(head, lines, 3, 1)


if __name__ == "__main__":
    main()
