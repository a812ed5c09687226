# SPDX-License-Identifier: BSD-3-Clause
"""Speed on a GPU: value, and value and gradient, against the device's own copy and other libraries.

    python bench/gpu.py             # docs/performance-gpu.json and docs/performance-gpu.md, less than 8 minutes
    python bench/gpu.py --out FOLDER
    python bench/gpu.py --quick     # the first rows, to the terminal

It needs PyTorch for the arrays and a GPU. Times are the device's, between two events, the median of rounds in which all
take part in turn. What a row has to move at least (y_pred and labels read, the gradient written) over its time is
compared with the bandwidth of a copy of the same size on the same device; of a read, where nothing but a value is written.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

CLASSES = ((8192, 128256), (32768, 32000), (65536, 1000), (1_000_000, 10))
ELEMENTS = (256 * 1024 * 1024,)
DTYPES = ("bfloat16", "float16", "float32", "float64")
OPERATIONS = ("value", "value_and_grad")

# Bytes that arrays take turns in, so that a cache does not hold what is read next.
TURNS = 256 << 20
MOST_SECONDS = 450
ROUNDS = 11


def chosen_losses():
    """(label, loss, shapes): of integer labels from logits, of a residual, of a logit for each element."""
    from fastloss import registry

    def first(kind, target, *predictions):
        return next(
            (label, loss)
            for label, loss in registry.native_instances()
            if loss._native.describe()["kind"] == kind and loss.target == target and loss.prediction in predictions
        )

    elements = tuple((n,) for n in ELEMENTS)
    return [
        (*first("SPARSE_SOFTMAX", "label", "logits"), CLASSES),
        (*first("POINTWISE_MEAN", "real", "real"), elements),
        (*first("POINTWISE_MEAN", "binary", "logit", "logits"), elements),
    ]


def made(loss, shape, dtype):
    """Copies of (y_true, y_pred) on the device, enough to miss the caches."""
    import torch

    count = 1
    for n in shape:
        count *= n
    size = torch.empty((), dtype=getattr(torch, dtype)).element_size()
    copies = max(1, min(8, TURNS // (count * size)))
    pairs = []
    for _ in range(copies):
        y_pred = torch.randn(shape, device="cuda", dtype=torch.float32).to(getattr(torch, dtype))
        if loss.target == "label":
            y_true = torch.randint(shape[-1], shape[:-1], device="cuda")
        elif loss.target == "binary":
            y_true = torch.randint(2, shape, device="cuda").to(y_pred.dtype)
        else:
            y_true = torch.randn(shape, device="cuda", dtype=torch.float32).to(y_pred.dtype)
        pairs.append((y_true, y_pred))
    return pairs


def seconds(calls, repeats):
    """Seconds of one of the calls, which take turns."""
    import torch

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for k in range(repeats):
        last = calls[k % len(calls)]()
    # JAX has a stream of its own.
    for array in last if isinstance(last, tuple) else (last,):
        getattr(array, "block_until_ready", bool)()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / repeats


def measure(contestants):
    """{name: median seconds}, in rounds in which all take part."""
    import torch

    times, repeats = {name: [] for name in contestants}, {}
    for name, calls in contestants.items():
        for call in calls:
            call()
        torch.cuda.synchronize()
        repeats[name] = max(len(calls), min(200, int(0.02 / max(seconds(calls, len(calls)), 1e-6))))
    for _ in range(ROUNDS):
        for name, calls in contestants.items():
            times[name].append(seconds(calls, repeats[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def row_of(label, loss, shape, dtype, operation, peers):
    """One row of the report."""
    import torch

    from peers import Missing
    from peers.gpu import PEERS

    pairs = made(loss, shape, dtype)
    call = loss if operation == "value" else loss.value_and_grad
    contestants = {"fastloss": [lambda y=y, p=p: call(y, p) for y, p in pairs]}
    targets = [torch.empty_like(p) for _, p in pairs]
    contestants["copy"] = [lambda t=t, p=p: t.copy_(p) for t, (_, p) in zip(targets, pairs, strict=True)]
    # Of what has as many bytes, so that no arithmetic is in its way.
    contestants["read"] = [lambda p=p: p.view(torch.int32).view(-1).max() for _, p in pairs]
    missing = {} if peers else dict.fromkeys(PEERS, "no time was left")
    for name in peers:
        try:
            contestants[name] = [PEERS[name](label, y, p, operation) for y, p in pairs]
            for contestant in contestants[name]:
                contestant()
            torch.cuda.synchronize()
        except Missing as why:
            contestants.pop(name, None)
            missing[name] = str(why)
        except Exception as error:  # A peer that fails is no reason to stop.
            contestants.pop(name, None)
            missing[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
            torch.cuda.empty_cache()
    times = measure(contestants)
    y_true, y_pred = pairs[0]
    size = y_pred.nbytes
    moved = size + y_true.nbytes + (size if operation == "value_and_grad" else 0)
    copied, read = 2 * size / times.pop("copy"), size / times.pop("read")
    return {
        "loss": label, "shape": shape, "dtype": dtype, "operation": operation, "seconds": times.pop("fastloss"),
        "bytes": moved, "copy_bandwidth": copied, "read_bandwidth": read,
        "limit": max(copied, read) if operation == "value" else copied, "peers": times, "missing": missing,
    }  # fmt: skip


def overhead(loss):
    """Seconds of a call too small for the device to matter: what the host takes."""
    import torch

    y, p = made(loss, (16, 8) if loss.target == "label" else (128,), "float32")[0]
    for _ in range(100):
        loss(y, p)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(1000):
        loss(y, p)
    return (time.perf_counter() - began) / 1000


def table(report):
    """The page."""
    lines = [
        "# Speed on a GPU", "",
        f"Measured by `python bench/gpu.py` on {report['device']}, {report['date']}: "
        + ", ".join(f"{name} {version}" for name, version in report["packages"].items()) + ".", "",
        "Limit: what has to be moved at least, at the bandwidth of the device's own copy of arrays of this size, or of a "
        "maximum over them if that is higher and nothing but a value is written. Peers: their time over that of fastloss.",
        "",
        "| loss | shape | dtype | what | ms | GB/s | of the limit | peers |", "|---|---|---|---|--:|--:|--:|---|",
    ]  # fmt: skip
    for row in report["rows"]:
        rate = row["bytes"] / row["seconds"]
        peers = ", ".join(f"{name} {seconds / row['seconds']:.2f}x" for name, seconds in row["peers"].items())
        lines.append(
            f"| {row['loss']} | {' x '.join(map(str, row['shape']))} | {row['dtype']} | {row['operation']} | "
            f"{row['seconds'] * 1e3:.3f} | {rate / 1e9:.0f} | {rate / row['limit']:.0%} | {peers} |"
        )
    missing = {}
    for row in report["rows"]:
        for name, why in row["missing"].items():
            missing.setdefault(f"{name}: {why}", []).append(f"{row['loss']} {row['dtype']} {row['operation']}")
    lines += ["", "Not measured:", "", *(f"- {why} ({', '.join(dict.fromkeys(rows))})" for why, rows in missing.items())]
    lines += ["", f"A call of a few numbers takes the host {report['overhead'] * 1e6:.1f} us.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows, to the terminal")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page and its JSON")
    arguments = parser.parse_args()
    import fastloss.cuda

    why = fastloss.cuda.reason()
    if why is None:
        try:
            import torch

            why = None if torch.cuda.is_available() else "PyTorch finds no GPU"
        except ImportError:
            why = "PyTorch is not installed"
    if why is not None:
        sys.exit(f"bench/gpu.py: nothing can be measured: {why}")
    import importlib.metadata

    from peers.gpu import PEERS

    packages = {}
    for name in ("fastloss", "numba-cuda", "torch", "jax", "cupy-cuda13x", "cupy-cuda12x", "liger-kernel"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    began, rows = time.monotonic(), []
    losses = chosen_losses()
    report = {
        "device": fastloss.cuda.describe(), "date": time.strftime("%Y-%m-%d"), "packages": packages, "rows": rows,
        "overhead": overhead(losses[0][1]),
    }  # fmt: skip
    # Every loss and shape in the first dtype, before any in the next: what there is no time for are the last dtypes.
    plan = [
        (label, loss, shape, dtype, operation)
        for dtype in (DTYPES[:1] if arguments.quick else DTYPES)
        for label, loss, shapes in losses
        for shape in (shapes[:1] if arguments.quick else shapes)
        for operation in OPERATIONS
    ]
    for work in plan:
        spent = time.monotonic() - began
        if spent > MOST_SECONDS:
            print(f"no time left for {work[0]}, {work[2:]}", file=sys.stderr)
            continue
        rows.append(row_of(*work, list(PEERS) if spent < MOST_SECONDS * 0.8 else []))
        torch.cuda.empty_cache()
        print(json.dumps(rows[-1]), flush=True)
        if not arguments.quick:
            # After each row, so that nothing is lost with a later one.
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / "performance-gpu.json").write_text(json.dumps(report, indent=1) + "\n")
            (arguments.out / "performance-gpu.md").write_text(table(report))
    if arguments.quick:
        print(table(report))


if __name__ == "__main__":
    main()
