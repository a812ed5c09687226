# SPDX-License-Identifier: BSD-3-Clause
"""`fastloss evaluate`: a loss over the user's own files, by rows, in bounded memory."""

import argparse
import ast
import contextlib
import inspect
import itertools
import json
import math
import os
import threading
import time

import numpy as np

import fastloss as fl

from .files import Output, UserError, open_array

# Bytes of all the files' rows in one chunk: enough to hide what a chunk costs besides its work, and far below
# the memory of any machine.
CHUNK_BYTES = 32 << 20

DESCRIPTION = """\
Compute LOSS over the rows, along the first axis, of two files: .npy (mapped), FILE.npz:member (the member may
be left out if it is the only one) or .csv (comma-separated; a first line without any number is a header).
Files may be larger than memory. The value is that of one call on the whole arrays, with the same bits for
every chunk size. Rows and columns in messages count from 0. Exit status 2 means that the request or a file is
wrong."""


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parameter(text):
    """name=value -> (name, value), with a Python literal or else a string as the value."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected name=value, got {text!r}")
    # Everything that literal_eval raises for text which is not a literal.
    with contextlib.suppress(ValueError, SyntaxError, TypeError):
        value = ast.literal_eval(value)
    return name, value


def add_parser(subparsers):
    parser = subparsers.add_parser("evaluate", help="compute a loss over files", description=DESCRIPTION)
    parser.add_argument(
        "loss", metavar="LOSS", help="class or function name or alias, as fastloss.losses.get knows it"
    )
    parser.add_argument("y_true", metavar="Y_TRUE", help="file of targets or labels")
    parser.add_argument("y_pred", metavar="Y_PRED", help="file of predictions")
    parser.add_argument("--sample-weight", metavar="W", help="file of weights")
    parser.add_argument("--from-logits", action="store_true", help="the predictions are logits")
    parser.add_argument(
        "--reduction", metavar="R", help="sum_over_batch_size (default), sum, mean_with_sample_weight or none"
    )
    parser.add_argument(
        "--param",
        metavar="name=value",
        type=parameter,
        action="append",
        default=[],
        help="argument of the loss's constructor; may be repeated",
    )
    parser.add_argument(
        "--chunk-rows",
        metavar="N",
        type=positive,
        help=f"rows in memory at a time, at most those of {CHUNK_BYTES >> 20} MiB, rounded up to whole blocks",
    )
    parser.add_argument("--per-sample", metavar="OUT.npy", help="write the weighted loss of each sample")
    parser.add_argument(
        "--gradient", metavar="OUT.npy", help="write the gradient of the value with respect to y_pred"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def loss_class(name):
    try:
        found = fl.losses.get(name)
    except (TypeError, ValueError) as error:
        raise UserError(error) from None
    return getattr(found, "loss_class", type(found))


def make(cls, parameters):
    known = inspect.signature(cls).parameters
    for name in parameters:
        if name not in known:
            raise UserError(f"{cls.__name__} has no parameter {name!r}; it has {', '.join(known)}")
    try:
        return cls(**parameters)
    except (TypeError, ValueError) as error:
        raise UserError(f"{cls.__name__}: {error}") from None


class Inputs:
    """The files of one evaluation, and how their rows go together."""

    def __init__(self, y_true, y_pred, sample_weight):
        self.y_true = open_array(y_true)
        self.y_pred = open_array(y_pred)
        self.sample_weight = None if sample_weight is None else open_array(sample_weight)
        self.rows = self.y_pred.shape[0]
        self.axes = max(len(self.y_pred.shape) - 1, 1)
        self.files = [file for file in (self.y_true, self.y_pred, self.sample_weight) if file]
        self.nbytes = sum(file.nbytes for file in self.files)
        if self.y_true.shape[0] != self.rows:
            raise UserError(
                f"{self.y_true.name} has {self.y_true.shape[0]} rows, {self.y_pred.name} has {self.rows}"
            )
        # Weights of another length than the samples' broadcast: they go whole to every chunk.
        self.weight_by_row = self.sample_weight is not None and (
            self.sample_weight.shape[0] == self.rows
            and (len(self.sample_weight.shape) == 1 or len(self.sample_weight.shape) >= self.axes)
        )

    def weight_shape(self, rows):
        """The shape of the weights of `rows` rows: with as many axes as the losses, or one weight a row."""
        shape = self.sample_weight.shape
        if self.weight_by_row:
            return (rows, *shape[1:])
        return (1,) * (self.axes - len(shape)) + shape

    def specimen(self, rows):
        """`rows` made-up rows of these shapes and dtypes, without memory behind them."""

        def fill(value, shape, file):
            return np.broadcast_to(np.array(value, file.dtype), shape)

        y_true = fill(0, (rows, *self.y_true.shape[1:]), self.y_true)
        y_pred = fill(1, (rows, *self.y_pred.shape[1:]), self.y_pred)
        weight = None if self.sample_weight is None else fill(1, self.weight_shape(rows), self.sample_weight)
        return y_true, y_pred, weight

    def evaluate_specimen(self, evaluate):
        """Check shapes and dtypes by evaluate(y_true, y_pred, weight) of a few made-up rows.

        Returns the number of rows and the result.
        """
        sizes = {size for file in self.files for size in file.shape}
        # A number of rows that no other size can be taken for.
        few = next(rows for rows in itertools.count(1) if rows not in sizes)
        try:
            return few, evaluate(*self.specimen(few))
        except (TypeError, ValueError) as error:
            reason = error
        try:
            # The same error again, before any work, but with the files' own shapes in its text.
            evaluate(*self.specimen(self.rows))
        except (TypeError, ValueError) as error:
            reason = error
        raise UserError(f"{', '.join(file.name for file in self.files)}: {reason}")

    def weights(self, rows):
        """The sample_weight of each chunk."""
        if self.sample_weight is None:
            return itertools.repeat(None)
        if self.weight_by_row:
            return self.sample_weight.chunks(rows)
        whole = next(self.sample_weight.chunks(self.sample_weight.shape[0]))
        return itertools.repeat(whole.reshape(self.weight_shape(rows)))

    def chunks(self, rows, bar):
        """(first row, y_true, y_pred, sample_weight) of each chunk, shown on the bar when it is done."""
        starts = itertools.count(step=rows)
        both = self.y_true.chunks(rows), self.y_pred.chunks(rows)
        for chunk in zip(starts, *both, self.weights(rows), strict=False):
            yield chunk
            bar.update(self.nbytes * len(chunk[1]) // max(self.rows, 1))

    @contextlib.contextmanager
    def errors_located(self, start):
        """Name the file and the whole file's row of an error in the chunk that begins at row `start`."""
        try:
            yield
        except fl.InputError as error:
            file = getattr(self, error.argument)
            axes = len(file.shape)
            if file is self.sample_weight and not self.weight_by_row:
                # The one weight of a single sample has no index.
                row, *columns = error.index[-axes:] or (0,)
            else:
                row, *columns = error.index[:axes]
                row += start
            place = f"row {row}, column {', '.join(map(str, columns))}" if columns else f"row {row}"
            # The text up to here tells the index in the chunk.
            expected = str(error).rpartition("expected ")[2]
            raise UserError(f"{file.name}: {place} is {error.value}, expected {expected}") from None


def plainly(call, *arguments, **keywords):
    return call(*arguments, **keywords)


def interruptibly(call, *arguments, **keywords):
    """In a thread of its own, which is left to itself when a signal ends the waiting: C does not look for them."""
    errors = []

    def work():
        try:
            call(*arguments, **keywords)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def run(arguments):
    # Loading tqdm takes longer than `fastloss info` does.
    from tqdm import tqdm

    parameters = dict(arguments.param)
    if arguments.from_logits:
        parameters["from_logits"] = True
    if arguments.reduction is not None:
        parameters["reduction"] = arguments.reduction
    cls = loss_class(arguments.loss)
    loss = make(cls, parameters)
    by_sample = make(cls, {**parameters, "reduction": None})
    if loss.reduction in (None, "none") and not (arguments.per_sample or arguments.gradient):
        raise UserError("reduction none has no single value to print; give --per-sample OUT.npy")
    outputs = [name for name in (arguments.per_sample, arguments.gradient) if name is not None]
    if "" in outputs:
        raise UserError("the name of an output file is empty")
    if len({os.path.realpath(name) for name in outputs}) < len(outputs):
        raise UserError(f"{arguments.gradient}: named for both --per-sample and --gradient")

    inputs = Inputs(arguments.y_true, arguments.y_pred, arguments.sample_weight)
    width = math.prod(inputs.y_pred.shape[1:])
    # Only the header of an empty file can name a row that is larger than any file.
    if inputs.rows == 0 and width > 2**31:
        raise UserError(f"{inputs.y_pred.name} has no rows, of {width} elements each")
    few, losses = inputs.evaluate_specimen(by_sample)
    # In one dimension a call without weights averages over the elements; by rows, every element has its loss.
    if len(inputs.y_pred.shape) == 1:
        losses = np.broadcast_to(losses, few)
    if losses.shape[:1] != (few,):
        raise UserError(f"{cls.__name__} with these parameters mixes rows, so it cannot be computed by rows")

    try:
        accumulator = loss.accumulator()
    except TypeError as error:
        raise UserError(f"{cls.__name__}: {error}") from None
    block = accumulator.block_rows(inputs.y_pred.shape)
    # No more than that: signals wait for the end of a chunk.
    wanted = CHUNK_BYTES * inputs.rows // max(inputs.nbytes, 1)
    rows = max(1, math.ceil(min(arguments.chunk_rows or wanted, wanted) / block)) * block
    moved = inputs.nbytes * (2 if arguments.gradient else 1)
    # A block is larger where all is one row.
    do = interruptibly if block > 2 * max(wanted, 1) else plainly

    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=moved, unit="B", unit_scale=True, leave=False, disable=None))
        buffer = None
        if arguments.per_sample:
            per_sample = Output(arguments.per_sample, stack)
            per_sample.write_header((inputs.rows, *losses.shape[1:]), losses.dtype)
            buffer = np.empty((min(rows, inputs.rows), *losses.shape[1:]), losses.dtype)
            moved += inputs.rows * losses.nbytes // few
        if arguments.gradient:
            gradient = Output(arguments.gradient, stack)

        if accumulator.needs_labels:
            for y_true, weight in zip(inputs.y_true.chunks(rows), inputs.weights(rows), strict=False):
                do(accumulator.scan_labels, y_true, weight)
        for start, y_true, y_pred, weight in inputs.chunks(rows, bar):
            out = None if buffer is None else buffer[: len(y_pred)]
            with inputs.errors_located(start):
                do(accumulator.update, y_true, y_pred, weight, losses=out)
            if out is not None:
                per_sample.write(out)

        if arguments.gradient:
            _, (_, specimen) = inputs.evaluate_specimen(loss.value_and_grad)
            gradient.write_header(inputs.y_pred.shape, specimen.dtype)
            buffer = np.empty((min(rows, inputs.rows), *inputs.y_pred.shape[1:]), specimen.dtype)
            moved += inputs.rows * specimen.nbytes // few
            for start, y_true, y_pred, weight in inputs.chunks(rows, bar):
                out = buffer[: len(y_pred)]
                with inputs.errors_located(start):
                    do(accumulator.gradient, y_true, y_pred, weight, out=out)
                gradient.write(out)
    seconds = time.perf_counter() - began

    value = None if loss.reduction in (None, "none") else losses.dtype.type(accumulator.value())
    report(arguments, cls, value, inputs.rows, seconds, moved / seconds / 1e9)


def report(arguments, cls, value, samples, seconds, speed):
    if arguments.json:
        record = {
            "loss": cls.__name__,
            # JSON has no infinity and no NaN: these become strings.
            "value": value if value is None else float(value) if np.isfinite(value) else str(value),
            "samples": samples,
            "seconds": seconds,
            "GB/s": speed,
        }
        if arguments.per_sample:
            record["per_sample"] = arguments.per_sample
        if arguments.gradient:
            record["gradient"] = arguments.gradient
        print(json.dumps(record, allow_nan=False))
        return
    if value is not None:
        print(f"value    {value}")
    print(f"samples  {samples}")
    print(f"seconds  {seconds:.3f}")
    print(f"GB/s     {speed:.3g}")
