# SPDX-License-Identifier: BSD-3-Clause
"""Fuzzes the binding: a call on arrays that lie oddly must do what the same call does on plain copies of them.

    python tools/fuzz.py [--executions N] [--seed S]    bytes at random, on the installed fastloss
    python tools/fuzz.py --guided [...]                 bytes that libFuzzer chooses by the coverage of core and binding,
                                                        on a build with AddressSanitizer and UndefinedBehaviorSanitizer

Bytes choose a loss with its parameters and axis, the method, and for each array its shape, dtype, byte order, strides
(negative, zero, over gaps), alignment, elements (NaN, infinite, huge, labels out of range), and whether it may be
written. That is called with each instruction set and reduction; N counts these calls. The results must have the same
bits, or the error the same type and message; inputs stay as they are, and so does `out` after an error, and always what
lies between its elements.

`--guided` needs clang with its runtime libraries, atheris, and an environment as CONTRIBUTING.md says for development.
It starts from tests/corpus/calls.txt, which `--keep` rewrites with some of the inputs that reached something new.
`--record` writes docs/reliability/fuzz.json.
"""

import argparse
import collections
import concurrent.futures
import inspect
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus" / "calls.txt"
sys.path.insert(0, str(ROOT / "tests"))

import fastloss as fl  # noqa: E402
from cases import CASES, STRUCTURED  # noqa: E402
from fastloss import _kernels  # noqa: E402

REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", None)
AXES = (*(-1,) * 8, 0, 1, -2, None, (0, 1), (0, -1), (1, 2), 2, 5)
VARIANTS = [(case, i) for case in [*CASES.values(), *STRUCTURED.values()] for i in range(len(case.parameters))]
ISAS = _kernels.isas()
METHODS = ("value", "value_and_grad", "value_and_grad", "grad_and_hess", "function", "accumulator")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(name) for name in ("f4", "f8", "f2")] + [BFLOAT16]
INTEGERS = [np.dtype(name) for name in ("?", "b", "h", "i", "q", "B", "H", "I", "Q")]
REFUSED = [np.dtype(name) for name in ("g", "F", "M8[s]", "S3", "O")]
EXTENTS = (3, 1, 2, 4, 5, 7, 8, 0, 9, 11, 16, 17, 31, 33, 40, 64, 3, 2, 1, 4, 5, 2, 3, 6, 10, 1030)
LARGE = ((67, 5003, 4), (9, 1201, 19), (3, 40009), (40009, 3), (5, 3001, 2, 3))
# Such inputs take a thousand times as long: no mutation of others meets this by chance.
IS_LARGE = b"large"
MOST = 300  # elements of an array, but for these and an extent of 1030

# Sixteen of a kind, for bytes to choose from.
NUMBERS = {
    "probability": [0.5, 0.25, 0, 1, 0.125, 0.75, 2**-10, 1 - 2**-10, 0.3, 0.7, 0.1, 0.9, 1e-7, 0.999, 0.0625, 0.375],
    "label": [0, 1, 0, 2, 1, 0, 1, 2, 3, 0, 1, 0, 1, 4, 0, 1],
    "sign": [-1, 1, -1, 1, 1, -1, 1, -1, 1, 1, 1, -1, -1, -1, 1, 1],
    "ordinary": [0.5, -0.25, 1.5, -2, 3, 0, -7.5, 10, 0.1, -0.3, 88, -88, 1, -1, 30, 2],
    "wild": [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 5e-324, 1e38, -3.4e38, 1.7e308, -1e300, 65504, -1, 2, 1e-300, 1e20],
    "integer": [0, 1, -1, 2, 255, -128, 127, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**62, 2**53 + 1, 65536, 3, 2**63],
}  # fmt: skip
KINDS = (
    *(("probability", "probability"),) * 4, *(("label", "probability"),) * 4, ("label", "ordinary"), ("sign", "ordinary"),
    ("ordinary", "ordinary"), ("ordinary", "probability"), ("wild", "probability"), ("wild", "wild"), ("integer", "integer"),
)  # fmt: skip


def palettes():
    found = {}
    with np.errstate(all="ignore"):
        for dtype in [*FLOATS, *INTEGERS]:
            for kind, numbers in NUMBERS.items():
                if dtype.kind in "iub":
                    whole = [int(x) if abs(x) < 1e19 else 0 for x in numbers]
                    # As casts do it: the low bits.
                    found[kind, dtype] = np.array([x % 2**64 for x in whole], np.uint64).astype(dtype)
                else:
                    found[kind, dtype] = np.array(numbers, np.float64).astype(dtype)
    return found


PALETTES = palettes()
PERMUTATIONS = {n: list(itertools.permutations(range(n))) for n in range(7)}


class Choices:
    """Reads bytes; there are zeros after the last."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def __call__(self, count):
        self.place += 1
        return self.data[self.place - 1] % count if self.place <= len(self.data) else 0

    def of(self, options):
        return options[self(len(options))]

    def chance(self, one_in):
        return self(one_in) == one_in - 1

    def numbers(self, count):
        """That many numbers below 16: the next bytes, again and again."""
        taken = self.data[self.place : self.place + min(count, 24)] or b"\0"
        self.place += min(count, 24)
        return np.frombuffer((taken * (count // len(taken) + 1))[:count], np.uint8) & 15


def laid_out(choose, values, given=True):
    """An array with these values somewhere in a memory that is just as large as it takes, and that memory as bytes.

    Arrays that are given may repeat elements, and be read-only.
    """
    dtype, shape = values.dtype, values.shape
    if choose.chance(4) or dtype.hasobject:
        view = np.array(values, order="C", copy=True)
        return view, view.reshape(-1).view(np.uint8) if view.size and not dtype.hasobject else np.zeros(0, np.uint8)
    if choose.chance(4) and dtype != BFLOAT16 and dtype not in REFUSED:
        dtype = dtype.newbyteorder()
    order = range(len(shape)) if choose.chance(2) else choose.of(PERMUTATIONS[len(shape)])
    offset = choose.of((0, 0, 0, 1, 3, 4, 64, 2))
    strides, step, first = [0] * len(shape), dtype.itemsize, 0
    for d in reversed(order):
        factor = choose.of((1, 1, 1, 1, 1, 2, 3, -1, -1, -2, 0) if given else (1, 1, 1, 2, -1))
        strides[d] = step * factor
        reach = abs(strides[d]) * max(shape[d] - 1, 0)
        first += reach if factor < 0 else 0
        step = reach + step
    memory = np.full(offset + step, 0xA5, np.uint8)
    view = np.ndarray(shape, dtype, memory, offset + first, strides)
    view[...] = values
    if choose.chance(8):
        view = view.view(type("Subclass", (np.ndarray,), {}))
    if given and choose.chance(8):
        view.flags.writeable = False
    return view, memory


def filled(choose, shape, dtype, kind):
    if dtype in REFUSED:
        return np.zeros(shape, dtype)
    return PALETTES[kind, dtype][choose.numbers(int(np.prod(shape, dtype=int)))].reshape(shape)


def plain(array):
    """The same in C order, aligned, native."""
    return np.array(array, array.dtype.newbyteorder("="), order="C", copy=True, subok=False)


class Arrays:
    """The arguments of a call, beside plain copies of them, and what all their memory held before."""

    def __init__(self):
        self.odd, self.plain, self.memory = {}, {}, []

    def add(self, name, choose, values):
        view, memory = laid_out(choose, values)
        self.odd[name], self.plain[name] = view, plain(view)
        self.watch(memory)

    def number(self, name, value):
        self.odd[name] = self.plain[name] = value

    def watch(self, memory):
        self.memory.append((memory, memory.tobytes()))

    def changed(self):
        return any(memory.tobytes() != before for memory, before in self.memory)


def chosen_shape(choose, structured):
    if choose.data.startswith(IS_LARGE) and not structured:
        return choose.of(LARGE)
    shape, size = [], 1
    for _ in range(structured or choose.of((2, 2, 2, 1, 3, 3, 4, 0))):
        extent = choose.of(EXTENTS)
        extent = extent if size * extent <= MOST or (extent == 1030 and size <= 8) else max(MOST // max(size, 1), 1) % 5
        size *= extent
        shape.append(extent)
    return tuple(shape)


def misfit(choose, shape):
    """Seldom another shape than this: with an axis more, or less, or of another extent."""
    if not choose.chance(30):
        return shape
    kind = choose(4)
    if kind == 0:
        return (*shape, 1)
    if kind == 1:
        return shape[:-1]
    return (*shape[:-1], choose(5)) if kind == 2 and shape else (2, *shape)


def chosen_dtype(choose, usual):
    if choose.chance(60):
        return choose.of(REFUSED)
    return choose.of((*FLOATS, *INTEGERS)) if choose.chance(4) else choose.of(usual)


def chosen_out(choose, arrays, wanted):
    """(kind, array) for a derivative of a shape and dtype."""
    p = arrays.odd["y_pred"]
    shape, dtype = wanted
    kind = choose.of(("none", "plain", "odd", "in place", "in place", "overlap", "dtype", "shape", "read-only", "labels",
                      "repeats", "list"))  # fmt: skip
    if kind == "none":
        return kind, None
    if kind == "in place":
        return kind, p
    if kind == "overlap":
        return kind, p[(slice(None, None, -1),) * p.ndim] if choose(2) else p.T
    if kind == "labels":
        return kind, arrays.odd["y_true"]
    if kind == "list":
        return kind, [0.0]
    dtype = choose.of(FLOATS) if kind == "dtype" else dtype
    shape = (*shape, 2) if kind == "shape" else shape
    out, memory = laid_out(choose, np.full(shape, 7, dtype), given=kind == "repeats")
    if kind == "read-only":
        out.flags.writeable = False
    arrays.watch(memory)
    return kind, out


LOSSES = {}


def loss_of(case, index, **arguments):
    """The loss, made once; with its own axis if it takes none."""
    key = (case.name, index, *arguments.items())
    if key not in LOSSES:
        try:
            LOSSES[key] = case.make(case.parameters[index], **arguments)
        except TypeError:
            LOSSES[key] = loss_of(case, index, **{k: v for k, v in arguments.items() if k != "axis"})
    return LOSSES[key]


def call(method, loss, function, arrays, out):
    arrays = dict(arrays)
    if method == "function":
        references = [arrays[name] for name in ("ref_labels", "ref_embeddings") if name in arrays]
        return [function(arrays["y_true"], arrays["y_pred"], *references)]
    if method == "value":
        return [loss(**arrays)]
    if method == "accumulator":
        total = loss.accumulator()
        arrays.pop("mask", None)
        total.update(**arrays)
        return [np.float64(total.value()), np.int64(total.count), total.gradient(**arrays)]
    if method == "value_and_grad":
        return list(loss.value_and_grad(**arrays, out=out))
    arrays.pop("mask", None)
    return list(loss.grad_and_hess(**arrays, out=out))


def attempt(*arguments):
    """Results and error of a call."""
    try:
        return call(*arguments), None
    except (ValueError, TypeError) as error:
        return None, error


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        return False
    if a.dtype.byteorder == b.dtype.byteorder and a.tobytes() == b.tobytes():
        return True
    a, b = plain(a), plain(b)
    if a.dtype.kind in "iub":
        return np.array_equal(a, b)
    # One NaN is as good as another.
    different = a.reshape(-1).view(f"u{a.itemsize}") != b.reshape(-1).view(f"u{b.itemsize}")
    return bool((np.isnan(a).reshape(-1) & np.isnan(b).reshape(-1))[different].all())


class Finding(AssertionError):
    """What a call on oddly laid out arrays does that the one on plain copies does not."""


COUNTS = collections.Counter()


def execute(data):
    """One call that the bytes choose, compared; raises a Finding."""
    choose = Choices(data)
    case, index = VARIANTS[(choose(256) * 256 + choose(256)) % len(VARIANTS)]
    structured = case.name in STRUCTURED
    method = choose.of(METHODS)
    arguments = {}
    if choose.chance(4):
        arguments["dtype"] = choose.of(("float32", "float64", "float16"))
    axis = choose.of(AXES)
    if not structured and case.has_axis and axis != -1:
        arguments["axis"] = axis
    loss = loss_of(case, index, **arguments)

    is_sequence = structured and loss.target == "sequence"
    shape = chosen_shape(choose, (3 if is_sequence else 2) if structured else 0)
    kinds = choose.of(KINDS)
    arrays = Arrays()
    if is_sequence:
        true_shape = (*shape[:1], choose(5))
    elif structured:
        true_shape = shape[:1]
    elif case.lacks_axis:
        own = getattr(loss, "axis", -1)
        own = own if isinstance(own, int) and -len(shape) <= own < len(shape) else -1
        true_shape = tuple(extent for d, extent in enumerate(shape) if d != own % max(len(shape), 1))
        shape = shape if case.columns is None or choose.chance(8) else (*shape[:-1], case.columns)[-max(len(shape), 1) :]
    else:
        true_shape = shape
    labelled = structured or (case.lacks_axis and case.columns is None)
    usual = INTEGERS if labelled else FLOATS
    arrays.add("y_pred", choose, filled(choose, misfit(choose, shape), chosen_dtype(choose, FLOATS), kinds[-1]))
    kind = "label" if labelled and kinds[0] != "integer" else kinds[0]
    arrays.add("y_true", choose, filled(choose, misfit(choose, true_shape), chosen_dtype(choose, usual), kind))
    if is_sequence and choose(4):
        order_labels(arrays)
    if method == "function" and structured and not is_sequence and choose(2):
        if "ref_labels" in inspect.signature(fl.losses.__dict__[case.handle]).parameters:
            rows = choose(6)
            arrays.add("ref_labels", choose, filled(choose, misfit(choose, (rows,)), chosen_dtype(choose, INTEGERS), kind))
            columns = arrays.plain["y_pred"].shape[-1:]
            values = filled(choose, misfit(choose, (rows, *columns)), chosen_dtype(choose, FLOATS), kinds[-1])
            arrays.add("ref_embeddings", choose, values)
    elif method != "function":
        for name in ("sample_weight", "mask"):
            add_weight(choose, arrays, name, shape[:1] if structured else shape[:-1])

    kinds, out = [], None
    if method == "value_and_grad" or method == "grad_and_hess":
        p = arrays.plain["y_pred"]
        wanted = p.shape, p.dtype if p.dtype.kind not in "iub" else np.dtype("f4")
        if method == "value_and_grad":
            kind, out = chosen_out(choose, arrays, wanted)
            kinds.append(kind)
        elif choose(2):
            pair = [chosen_out(choose, arrays, wanted) for _ in range(2)]
            kinds, out = [kind for kind, _ in pair], tuple(array for _, array in pair)
    function = case.function(case.parameters[index])
    reductions = REDUCTIONS if method in ("value", "value_and_grad", "accumulator") else REDUCTIONS[:1]
    for isa, reduction in itertools.product(ISAS, reductions):
        _kernels.set_isa(isa)
        loss = loss_of(case, index, **arguments, reduction=reduction)
        try:
            refused = compare(method, loss, function, arrays, kinds, out)
        except Finding as finding:
            raise Finding(f"{finding}, {isa}, bytes {data.hex()}") from None
        COUNTS["refused" if refused else "computed"] += 1
        COUNTS[case.name] += 1
        if refused:
            # As by any other instruction set and reduction.
            return


def compare(method, loss, function, arrays, kinds, out):
    """Both calls; whether they are refused, or a Finding."""
    expected, refusal = attempt(method, loss, function, arrays.plain, None)
    outs = [array for array in (out if isinstance(out, tuple) else (out,)) if isinstance(array, np.ndarray)]
    before = [array.copy() for array in outs]
    results, error = attempt(method, loss, function, arrays.odd, out)

    def fail(what):
        shown = {
            name: (a.shape, a.dtype.str, a.strides) if isinstance(a, np.ndarray) else a for name, a in arrays.odd.items()
        }
        raise Finding(f"{what}: {loss!r}.{method}, {shown}, out {kinds} {[(o.shape, o.dtype.str, o.strides) for o in outs]}")

    if error is not None:
        if arrays.changed():
            fail(f"memory is written, though the call is refused ({error})")
        about_out = str(error).startswith("out")
        if about_out and set(kinds) <= {"none", "plain", "odd"}:
            fail(f"out is refused ({error})")
        if not about_out and (type(error), str(error)) != (type(refusal), str(refusal)):
            fail(f"{error!r} instead of {refusal!r}")
        return True
    if refusal is not None:
        fail(f"nothing is raised instead of {refusal!r}")
    if not all(same_bits(a, b) for a, b in zip(results, expected, strict=True)):
        fail(f"{results} instead of {expected}")
    derivatives = results[1:] if method == "value_and_grad" else results
    given = out if isinstance(out, tuple) else (out,)
    if out is not None and not all(r is o for r, o in zip(derivatives, given, strict=True) if o is not None):
        fail("out is not returned")
    for array, held in zip(outs, before, strict=True):
        array[...] = held
    if arrays.changed():
        fail("memory is written that is no element of out")
    return False


def order_labels(arrays):
    """Sequences that end with their padding."""
    y = arrays.odd["y_true"]
    if y.dtype.kind in "iu" and y.flags.writeable and y.ndim == 2 and 0 not in y.strides:
        y[...] = -np.sort(-np.minimum(y.astype(np.int64), 3), axis=-1)
        arrays.plain["y_true"] = plain(y)
        memory = y.base if y.base is not None else y
        while isinstance(memory, np.ndarray) and isinstance(memory.base, np.ndarray):
            memory = memory.base
        arrays.memory = [(held, held.tobytes()) for held, _ in arrays.memory]


def add_weight(choose, arrays, name, shape):
    kind = choose(10)
    if kind < 4:
        return
    if kind == 4:
        arrays.number(name, choose.of((0.5, 0.0, 2, True, 1.0, float("nan"), -1.0)))
        return
    extents = {5: (), 6: shape[:1], 7: (*shape[:1], 1), 8: shape, 9: shape[-1:]}[kind]
    dtype = chosen_dtype(choose, FLOATS if name == "sample_weight" else INTEGERS[:1])
    numbers = choose.of(("probability", "label", "wild", "probability")) if name == "sample_weight" else "label"
    arrays.add(name, choose, filled(choose, misfit(choose, extents), dtype, numbers))


def corpus():
    return [bytes.fromhex(line) for line in CORPUS.read_text().split()] if CORPUS.exists() else []


def executed():
    return COUNTS["computed"] + COUNTS["refused"]


def run(executions, seed, seconds=float("inf"), length=160):
    """Calls that bytes at random choose; returns how many there were, by their losses and outcomes."""
    rng = np.random.default_rng(seed)
    COUNTS.clear()
    started = time.time()
    for i in itertools.count():
        if executed() >= executions or time.time() - started >= seconds:
            break
        execute((IS_LARGE if i % 2000 == 1000 else b"") + rng.bytes(length))
    return COUNTS


def run_all(arguments):
    """The same in several processes, each with a seed of its own."""
    with concurrent.futures.ProcessPoolExecutor(arguments.processes) as pool:
        each = arguments.executions // arguments.processes
        seeds = range(arguments.seed, arguments.seed + arguments.processes)
        for counts in pool.map(run, itertools.repeat(each), seeds, itertools.repeat(arguments.seconds)):
            COUNTS.update(counts)


# Guided by coverage

FLAGS = "-g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"


def guided(arguments):
    """Builds, and starts this file again, on that build."""
    import atheris

    import variant

    python = variant.build("fuzz", compiler="clang", flags=FLAGS)
    folder = ROOT / "build" / "fuzz" / "corpus"
    folder.mkdir(exist_ok=True)
    for i, data in enumerate(corpus()):
        (folder / f"kept-{i}").write_bytes(data)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(Path(atheris.path()) / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "OMP_NUM_THREADS": "2",
    }
    command = [python, __file__, "--target", "--executions", str(arguments.executions),
               "--seed", str(arguments.seed), "--seconds", str(arguments.seconds)]  # fmt: skip
    command += ["--record"] if arguments.record else []
    done = subprocess.run([*command, folder], env=environment, check=False)
    if arguments.keep:
        # Each of them reached something new; a sample of them is enough for a short test.
        found = sorted(data for data in (path.read_bytes() for path in folder.iterdir()) if 0 < len(data) < 100)
        kept = random.Random(0).sample(found, min(len(found), 300))
        lines = sorted({data.hex() for data in kept}, key=lambda line: (len(line), line))
        CORPUS.write_text("".join(f"{line}\n" for line in lines))
    sys.exit(done.returncode)


def target(arguments, started):
    import atheris

    def one_input(data):
        execute(data)
        if executed() >= arguments.executions or time.time() - started > arguments.seconds:
            report(arguments, started)
            sys.stdout.flush()
            os._exit(0)

    options = ["-runs=-1", f"-seed={arguments.seed + 1}", "-max_len=160", "-len_control=0", "-timeout=300",
               "-rss_limit_mb=6000", f"-artifact_prefix={ROOT}/build/fuzz/", *arguments.folder]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


def report(arguments, started):
    seconds = time.time() - started
    print(f"{executed()} calls, {COUNTS['refused']} of them refused, {seconds:.0f} s: no finding")
    if arguments.record:
        import variant

        losses = {name: count for name, count in COUNTS.items() if name not in ("computed", "refused")}
        contents = {
            "seed": arguments.seed,
            "processes": arguments.processes,
            "executions": executed(),
            "computed": COUNTS["computed"],
            "refused": COUNTS["refused"],
            "losses": len(losses),
            "least_calls_of_a_loss": min(losses.values()),
            "seconds": round(seconds),
            "build": _kernels.build_info()["compiler"] + (f" {FLAGS}" if arguments.target else ""),
            "findings": 0,
        }
        variant.record("fuzz", contents, f"{'guided' if arguments.target else 'random'}, seed {arguments.seed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after these, if not before")
    parser.add_argument("--processes", type=int, default=1, help="with seeds from SEED on; --guided has one")
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--keep", action="store_true", help="with --guided: rewrite the corpus, from what was found")
    parser.add_argument("--record", action="store_true", help="write docs/reliability/fuzz.json")
    parser.add_argument("--replay", help="execute these bytes, given in hexadecimal, alone")
    parser.add_argument("--target", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    started = time.time()
    if arguments.replay:
        execute(bytes.fromhex(arguments.replay))
    elif arguments.target:
        target(arguments, started)
    elif arguments.guided:
        guided(arguments)
    else:
        run_all(arguments)
        report(arguments, started)


if __name__ == "__main__":
    main()
