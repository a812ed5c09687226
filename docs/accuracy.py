# SPDX-License-Identifier: BSD-3-Clause
"""Write docs/accuracy.md: the worst errors in ulp of losses, elementary functions and sums, from docs/accuracy.

`--measure` compares every loss with references computed with 50 digits first (minutes), and writes losses.json there;
tools/elementary.py, tools/functions.py and tools/sums.py write the other files. Needs the extra test.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

import fastloss.losses
from fastloss import _kernels

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from cases import CASES, STRUCTURED
from exact import samples, ulp_errors, without_excuses
from table import PROMISED
from test_structured import exact_samples
from test_values import layouts

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
FOLDER = ROOT / "docs" / "accuracy"
OUTPUTS = {"value": "value", "gradient": "gradient", "hessian": "Hessian"}
DTYPES = ("float32", "float64")
SEEDS = 2
SHOWN = 4  # classes of a row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the errors of every loss again")
    parser.add_argument("--only", metavar="NAME", default="", help="of the losses whose name in the registry contains it")
    options = parser.parse_args()
    if options.measure:
        measure(options.only)
    PAGE.write_text(page(), encoding="utf-8")


def read(name="losses"):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))


# Measuring


def measure(only):
    """Writes losses.json: {losses: {name of the case: its errors}}, what is known where it is not measured again."""
    cases = CASES | STRUCTURED
    losses = {name: found for name, found in read()["losses"].items() if name in cases} if only else {}
    found = {"command": "python docs/accuracy.py --measure", "seeds": SEEDS, "instruction_sets": sets()}
    for name in tqdm([name for name in cases if only in name], disable=None):
        losses[name] = worst_errors(cases[name])
        found["losses"] = {name: losses[name] for name in cases if name in losses}
        (FOLDER / "losses.json").write_text(json.dumps(found, indent=1) + "\n", encoding="ascii")


def sets():
    return _kernels.isas()


def worst_errors(case):
    """{class, arguments, dtype: {output: {isa: error, whole: error, samples, at}}} of a case, errors in ulp."""
    used, blur = _kernels.get_isa(), getattr(case, "blur", 0.5)
    errors = {dtype: {} for dtype in DTYPES}
    calls = results if case.name in CASES else structured_results
    for dtype, index, seed, isa in itertools.product(DTYPES, range(len(case.parameters)), range(SEEDS), sets()):
        _kernels.set_isa(isa)
        for name, result, exact, strict, inputs in calls(case, index, dtype, seed):
            found = errors[dtype].setdefault(name, {"samples": 0, "whole": 0.0, "at": {}, **dict.fromkeys(sets(), 0.0)})
            error = ulp_errors(result, exact, dtype, blur, strict)
            whole = ulp_errors(result, without_excuses(exact), dtype, blur, True)
            found["samples"] += error.size if isa == sets()[0] else 0
            found["whole"] = max(found["whole"], rounded(whole.max(initial=0)))
            if (most := error.max(initial=0)) > max(found[x] for x in sets()):
                worst = np.unravel_index(np.argmax(error), error.shape)
                found["at"] = {
                    "isa": isa,
                    "parameters": case.parameters[index],
                    **{key: shown(of(worst)) for key, of in inputs.items()},
                    "result": shown(result[worst]),
                    "exact": float(exact["hi"][worst]),
                }
            found[isa] = max(found[isa], rounded(most))
    _kernels.set_isa(used)
    return {"class": case.loss, "arguments": arguments(case), **errors}


def arguments(case):
    """Those that select the case."""
    return ", ".join(f"{name}={value!r}" for name, value in getattr(case, "fixed", {}).items())


def outputs(case):
    return getattr(case, "outputs", ("value", "gradient"))


def rounded(error):
    return float(f"{error:.3g}") if np.isfinite(error) else 1e300


def shown(number):
    """A number as it is, a row by its first classes."""
    flat = np.asarray(number)
    if flat.ndim == 0:
        return float(flat) if flat.dtype.kind != "i" else int(flat)
    return [float(x) for x in flat.ravel()[:SHOWN]] + ([f"{flat.size} in all"] if flat.size > SHOWN else [])


def results(case, index, dtype, seed):
    """(output, result, exact result, strict, inputs at an index of it) by every way to have the output."""
    parameters = case.parameters[index]
    function, loss = case.function(parameters), case.make(parameters, reduction=None)
    for sample, exact in samples(case.name, index, dtype, seed):
        ways = [(["value"], lambda *inputs: [function(*inputs)]), (["value", "gradient"], loss.value_and_grad)]
        ways += [(["gradient", "hessian"], loss.grad_and_hess)] if "hessian" in exact else []
        for names, call in ways:
            for y_true, y_pred, expected in layouts(case, sample, {name: exact[name] for name in names}, names):
                inputs = {"y_true": input_at(y_true, case), "y_pred": input_at(y_pred, case)}
                for name, result in zip(names, call(y_true, y_pred), strict=True):
                    place = {"class": lambda worst: worst[-1]} if name != "value" and not case.elementwise else {}
                    yield name, result, expected[name], sample.strict, inputs | place


def input_at(array, case):
    """Index of an output -> what of an input belongs to it: the element, or the row."""
    if case.elementwise:
        return lambda worst: array[worst if len(worst) == array.ndim else worst[0]].squeeze()
    return lambda worst: array[worst[0]]


def structured_results(case, index, dtype, seed):
    """The same for losses whose samples are more than a row."""
    loss = case.make(case.parameters[index], reduction=None)
    for y_true, y_pred, *expected in exact_samples(case.name, index, dtype, seed):
        for name, result, exact in zip(OUTPUTS, loss.value_and_grad(y_true, y_pred), expected, strict=False):
            yield name, result, exact, dtype == "float32", {"shape of y_pred": lambda worst, p=y_pred: np.array(p.shape)}


# The page


def page():
    cases, found = CASES | STRUCTURED, read()
    parts = [
        "# Accuracy",
        "Errors in ulp (units in the last place) of the result: the largest ones over samples from 1e-30 to 1e30, "
        "subnormals, confident predictions, and the neighbours of every kink and bound, against references computed with 50 "
        "digits from the formulas of the literature (`tests/reference.py`). `python docs/accuracy.py --measure` measures "
        "them; the tests hold every build to the bounds.",
        "**The promise**: each element of a value, gradient or Hessian, in float32 and float64, is within "
        f"{PROMISED} ulp of the exact one, tiny results included, but for the losses [below](#more-than-{PROMISED}-ulp). "
        "Where terms of the formula itself cancel, or where a difference of inputs has to be rounded before anything else, "
        "an error counts against the sum of the absolute terms; [those](#terms-that-cancel) are listed with their whole "
        "errors. "
        "Results within half an ulp of a jump may be on either side of it. In half precision the float32 result is rounded "
        "once more. Logits whose difference is above the largest number have no finite loss. What is promised of sums and "
        "means stands [below](#sums).",
        "See also the [comparison with other libraries](comparison.md), and [what else can be relied on](reliability.md).",
        "## Losses",
        *itertools.chain.from_iterable(family(cases, found, *part) for part in itertools.groupby(cases, group_of(cases))),
        f"## More than {PROMISED} ulp",
        exceptions(cases, found),
        "## Terms that cancel",
        "The largest error of the result itself, in ulp, where that is more than the bound.",
        cancelling(cases, found),
        "## Elementary functions",
        *elementary(read("elementary"), read("functions")),
        "## Sums",
        *sums(read("sums")),
    ]
    return "\n\n".join(parts) + "\n"


def group_of(cases):
    return lambda name: getattr(fastloss.losses, cases[name].loss).__module__.rpartition(".")[2]


def family(cases, found, title, names):
    isas = found["instruction_sets"]
    head = ["loss", "dtype", "output", "bound", *isas, "samples", "the worst one"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|" + "--:|" * (len(isas) + 2) + "---|"]
    for name in names:
        errors = found["losses"][name]
        for dtype, output in itertools.product(DTYPES, OUTPUTS):
            if output not in errors[dtype]:
                continue
            one = errors[dtype][output]
            cells = [f"`{name}`", dtype, OUTPUTS[output], f"{cases[name].bound(output):g}"]
            cells += [*(f"{one[isa]:.3g}" for isa in isas)]
            cells += [f"{one['samples']:,}", where(one["at"])]
            lines.append(f"| {' | '.join(cells)} |")
    return [f"### {title.capitalize()}", "\n".join(lines)]


def where(at):
    if not at:
        return ""
    parameters = [f"{key}={value!r}" for key, value in at["parameters"].items()]
    inputs = [f"{key} = {text(value)}" for key, value in at.items() if key not in ("isa", "parameters", "exact", "result")]
    return f"{', '.join([*parameters, *inputs])}: {at['result']!r}, exact {at['exact']!r}".replace("|", "&#124;")


def text(value):
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else repr(value)


def cell(one):
    """The error of an output, with the whole one in brackets if that is more."""
    error = max(one[isa] for isa in sets_of(one))
    return f"{error:.2g}" if one["whole"] <= error else f"{error:.2g} ({one['whole']:.2g})"


def sets_of(one):
    return [key for key in one if key not in ("samples", "whole", "at")]


def exceptions(cases, found):
    lines = ["| loss | output | bound | seen | why |", "|---|---|--:|--:|---|"]
    for name, case in cases.items():
        for output, bound in case.ulps.items():
            measured = (found["losses"][name][dtype][output] for dtype in DTYPES)
            seen = max(one[isa] for one in measured for isa in sets_of(one))
            lines.append(f"| `{name}` | {OUTPUTS[output]} | {bound:g} | {seen:.3g} | {case.because} |")
    return "\n".join(lines)


def cancelling(cases, found):
    lines = ["| loss | " + " | ".join(f"{OUTPUTS[o]}, {d}" for o in OUTPUTS for d in DTYPES) + " | why |"]
    lines.append("|---|" + "--:|" * (len(OUTPUTS) * len(DTYPES)) + "---|")
    for name, case in cases.items():
        if not case.cancels:
            continue
        found_here = found["losses"][name]
        wholes = [found_here[d][o]["whole"] if o in found_here[d] else 0 for o in OUTPUTS for d in DTYPES]
        bounds = [case.bound(o) for o in OUTPUTS for _ in DTYPES]
        cells = [f"{whole:.2g}" if whole > bound else "" for whole, bound in zip(wholes, bounds, strict=True)]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {case.cancels} |")
    return "\n".join(lines)


def elementary(found, functions):
    """Those of csrc/elementary.h, and those that are losses."""
    sets = list(dict.fromkeys(row["isa"] for row in found["results"] if "worst" in row))
    lines = [f"| function | dtype | {' | '.join(sets)} | inputs of each | the worst one | NEON |"]
    lines.append("|---|---|" + "--:|" * (len(sets) + 1) + "---|---|")
    rows = {}
    for row in found["results"]:
        rows.setdefault((row["function"], row["dtype"]), {})[row["isa"]] = row
    for (function, dtype), row in rows.items():
        worst = max((row[isa] for isa in sets), key=lambda one: one["worst"])
        same = [value for key, value in row.get("neon", {}).items() if key.startswith("same")]
        cells = [f"`{function}`", dtype, *(f"{row[isa]['worst']:.3g}" for isa in sets), f"{worst['tested']:,}"]
        cells += [", ".join(worst["inputs"]), "same bits" if same == [True] else ""]
        lines.append(f"| {' | '.join(cells)} |")
    for name, outputs in functions["worst"].items():
        for output, by_isa in outputs.items():
            worst = max(by_isa.values())
            cells = [f"`{name}`, {OUTPUTS[output]}", "float32", *(f"{by_isa[isa][0]:.3g}" for isa in sets)]
            lines.append(f"| {' | '.join([*cells, f'{worst[2]:,}', worst[1], ''])} |")
    yield (
        f"`{found['command']}` and `{functions['command']}` ({found['date']}, {found['machine']}) compare them with glibc "
        "in double and in 128-bit numbers, and with NumPy in float64. The last rows are losses that are tanh, softplus and "
        "the logistic function of y_pred where y_true is 0."
    )
    yield "\n".join(lines)


def sums(found):
    dtypes = list(found["promised ulp"])
    ways = list(dict.fromkeys(way for case in found["worst"].values() for way in case[dtypes[0]]))
    lines = ["| loss | " + " | ".join(f"{way}, {dtype}" for dtype in dtypes for way in ways) + " |"]
    lines.append("|---|" + "--:|" * (len(dtypes) * len(ways)))
    for name, case in found["worst"].items():
        cells = [f"{case[dtype][way]:.2g}" if way in case[dtype] else "" for dtype in dtypes for way in ways]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    promised = " and ".join(f"{bound:g} ulp in {dtype}" for dtype, bound in found["promised ulp"].items())
    yield (
        f"Within {promised} of the exact sum of the losses of the samples as they are computed. Found by "
        f"`{found['command']}` ({found['date']}), {found['samples']:,} samples, drawn and all alike, without weights, with "
        "ordinary ones, and with ones that alternate between 1e-6 and 1e6:"
    )
    yield "\n".join(lines)


if __name__ == "__main__":
    main()
