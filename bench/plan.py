# SPDX-License-Identifier: BSD-3-Clause
"""The rows that are measured: not every loss with everything, but all that the targets speak of within the hour."""

import math
from typing import NamedTuple

import fastloss as fl
from data import fitted
from peers import MODULES
from targets import (
    ARITHMETIC,
    AVX2,
    CROSS_ENTROPY,
    EXAMPLES,
    FIRST_AXIS,
    FLOAT32,
    FORTRAN,
    FRESH,
    SINGLE,
    STRIDED,
    TRANSCENDENTAL,
)

LOSSES = dict(fl.losses.native_instances())
BOTH = ("value", "value_and_grad")
ALL_PEERS = tuple(MODULES)
QUICK_PEERS = tuple(name for name in MODULES if name != "torch.compile")
# Those that come near; the others are slow, and measured for every loss once.
CONTENDERS = ("Numba", "PyTorch", "torch.compile", "JAX", "scikit-learn")

MEMORY = (16_384, 1024)  # 16.8 M elements
SIZES = ((32, 10), (256, 64), (640, 100), (20_000, 100), MEMORY)
FEW_CLASSES = tuple((4_194_304 // classes, classes) for classes in (2, 3, 10, 17, 64))
MANY_CLASSES = ((40_960, 100), (65_536, 1000), (2048, 32_000), (512, 128_256))
LARGEST = (2048, 128_256)
CACHE = (640, 100)  # 256 KB in float32: in L2
SMALL = (32, 10)
NAMED_SIZES = {"cache": CACHE, "l3": (20_000, 100), "memory": MEMORY}  # of the part that pytest runs

PREPARATION_SECONDS = {"Numba": 1.5, "torch.compile": 2.0, "JAX": 0.4}  # roughly
NANOSECONDS = {"NumPy": 15, "Keras": 10, "PyTorch": 4, "scikit-learn": 6, "numexpr": 6}  # an element, roughly
ROUNDS_OF_SLOW = 6  # the least, with those that are not timed


class Row(NamedTuple):
    label: str
    operation: str  # of peers.OPERATIONS; "memory" of value, or of value_and_grad
    dtype: str = "float32"
    shape: tuple = MEMORY  # of y_pred
    threads: int = 2
    peers: tuple = ()
    variants: tuple = ()
    targets: tuple = ()
    kind: str = "speed"  # or "memory"

    @property
    def name(self):
        shape = " x ".join(map(str, self.shape))
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.label}, {self.operation}, {self.dtype}, {shape}, {threads}, {self.kind}"

    @property
    def elements(self):
        return math.prod(self.shape)

    @property
    def budget(self):
        """Seconds of timing."""
        return 2.0 if self.peers else 0.8

    @property
    def estimate(self):
        """Seconds, roughly."""
        peers = sum(
            PREPARATION_SECONDS.get(name, 0.02) + ROUNDS_OF_SLOW * NANOSECONDS.get(name, 1) * 1e-9 * self.elements
            for name in self.peers
        )
        return 0.1 + self.budget + peers + 60e-9 * self.elements


def row(label, operation, shape=MEMORY, **others):
    return Row(label, operation, shape=fitted(LOSSES[label], shape), **others)


def rows():
    """All rows, those on the same arguments side by side."""
    parts = (every_loss, classes, sizes, dtypes, small, threads, layouts, memory, boosting)
    found = merged(one for part in parts for one in part())
    return sorted(found, key=lambda one: (-one.threads, one.kind, one.dtype, one.elements, one.shape, one.label))


def merged(rows):
    """Rows by name, once each, with all that is asked of it."""
    found = {}
    for one in rows:
        same = found.setdefault(one.name, one)
        lists = {name: getattr(same, name) + getattr(one, name) for name in ("peers", "variants", "targets")}
        found[one.name] = same._replace(**{name: tuple(dict.fromkeys(both)) for name, both in lists.items()})
    return list(found.values())


def quick():
    """A few rows of each sort, small."""
    some = [
        row(label, operation, shape=shape, peers=ALL_PEERS, variants=(SINGLE, AVX2), targets=("P9", "P11"))
        for label, shape in ((CROSS_ENTROPY[1], CACHE), (ARITHMETIC[0], (2048, 1000)))
        for operation in BOTH
    ]
    some += [row(EXAMPLES[0], "value", shape=SMALL, peers=QUICK_PEERS, targets=("P8",))]
    some += [row(EXAMPLES[3], "grad_and_hess", shape=CACHE, peers=("scikit-learn",))]
    some += [row(EXAMPLES[1], "value", dtype="bfloat16", shape=CACHE, peers=("PyTorch",), variants=(FLOAT32,))]
    some += [row(EXAMPLES[0], "value_and_grad", shape=CACHE, variants=(STRIDED, FORTRAN, FRESH), targets=("P12",))]
    some += [row(EXAMPLES[0], "value", shape=(2048, 1000), kind="memory", targets=("P10",))]
    return merged(some)


def every_loss():
    for label in LOSSES:
        targets = [name for name, labels in (("P4", ARITHMETIC), ("P5", TRANSCENDENTAL)) if label in labels]
        for operation in BOTH:
            variants = (SINGLE, FRESH) if operation == "value_and_grad" else (SINGLE,)
            yield row(label, operation, peers=ALL_PEERS, variants=variants, targets=(*targets, "P9"))
            # Where arithmetic is the limit, not memory or threads.
            yield row(label, operation, shape=CACHE, threads=1, variants=(AVX2, "baseline"), targets=("P11",))


def classes():
    for label in CROSS_ENTROPY:
        for operation, target in zip(BOTH, ("P1", "P2"), strict=True):
            for shape in (*FEW_CLASSES, *MANY_CLASSES):
                targets = ("P3",) if shape in FEW_CLASSES else (target,) if shape[1] >= 1000 else ()
                variants = (FRESH,) if operation == "value_and_grad" else ()
                yield row(label, operation, shape=shape, peers=CONTENDERS, variants=variants, targets=targets)
    for operation, target in zip(BOTH, ("P1", "P2"), strict=True):
        yield row(EXAMPLES[0], operation, shape=LARGEST, peers=("torch.compile", "JAX"), targets=(target,))


def sizes():
    for label in EXAMPLES:
        for operation in BOTH:
            for shape in SIZES:
                megabytes = math.prod(shape) >= 1 << 20
                scaling = {"variants": (SINGLE,), "targets": ("P9",)} if megabytes else {}
                yield row(label, operation, shape=shape, peers=ALL_PEERS, **scaling)


def dtypes():
    for operation in BOTH:
        doubles = [(label, (8192, 1000)) for label in (*CROSS_ENTROPY, *ARITHMETIC[:4], *TRANSCENDENTAL)]
        doubles += [(label, (524_288, 10)) for label in CROSS_ENTROPY]
        for label, shape in doubles:
            yield row(label, operation, dtype="float64", shape=shape, peers=CONTENDERS, targets=("P6",))
        for label in EXAMPLES:
            for dtype in ("float16", "bfloat16"):
                # A mean's gradient is below float16's normal range, so that no two libraries agree on it.
                alone = (dtype, operation) == ("float16", "value_and_grad")
                peers = () if alone else ("PyTorch", "torch.compile", "JAX")
                yield row(label, operation, dtype=dtype, peers=peers, variants=(FLOAT32,), targets=("P7",))


def small():
    for label in LOSSES:
        yield row(label, "value", shape=SMALL, peers=QUICK_PEERS, targets=("P8",))


def threads():
    """On one thread, with peers."""
    for label in EXAMPLES:
        for operation in BOTH:
            yield row(label, operation, threads=1, peers=CONTENDERS)


def layouts():
    for label in EXAMPLES:
        for operation in BOTH:
            variants = (STRIDED, FORTRAN, FIRST_AXIS)
            yield row(label, operation, shape=(8192, 1000), variants=variants, targets=("P12",))


def memory():
    for label in (*EXAMPLES, CROSS_ENTROPY[0]):
        for operation in BOTH:
            yield row(label, operation, kind="memory", targets=("P10",))


def boosting():
    for label, loss in LOSSES.items():
        if loss.has_hessian:
            for dtype in ("float32", "float64"):
                yield row(label, "grad_and_hess", dtype=dtype, shape=(20_000, 100), peers=("scikit-learn",))
