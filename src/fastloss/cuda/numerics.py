# SPDX-License-Identifier: BSD-3-Clause
"""What kernels of every kind compute with: sums with their rounding errors, reductions over a row, exponentials, labels.

A row is worked on by the blockDim.x threads of its threadIdx.y, a power of two. Sums are kept as a number and its
rounding errors, so that float32 kernels need no float64 and no order of threads loses digits; the order is
fixed by the shape alone. No loss is named here.
"""

import inspect
import math
from functools import cache

from fastloss.cuda._numba import (
    REALS,
    SIMULATED,
    bits_as_int64,
    cuda,
    device,
    exp,
    exp2_near_zero,
    fused_multiply_add,
    int32,
    int64,
    load,
    power_of_two_from_low_bits,
    shuffle_xor,
)

# Entries of the shared memory that rows and blocks are reduced in: at least the warps of a block, and its rows; in the
# simulator, which has no warps, its threads. Kernels allocate it, as Numba gives shared memory of two functions one name.
PARTS = 256
ENTRIES = 2 * PARTS

# What is wrong, and where: PLACES * row + one of these, and FIRST_ELEMENT more for elements: the least is told.
BAD_LABEL, BAD_WEIGHT, BAD_MASK, BAD_TRUE, BAD_PRED, BAD_PADDING, BAD_REFERENCE = range(1, 8)
PLACES = 8
FIRST_ELEMENT = 2**60
NOWHERE = 2**62
# What a label that is no int64 is loaded as.
NO_LABEL = -(2**63)


@device
def two_sum(a, b):
    """The sum and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@device
def joined(high, low):
    """A sum as one number; an infinite one has a NaN for its error."""
    return high + low if low == low else high


@cache
def adder(width):
    """A device function: the sum, with its errors, and the first `width` entries of a buffer."""

    @device
    def add(high, low, buffer):
        # In pairs, then exactly. Indices are constants, so that the buffer stays in registers.
        a = buffer[0]
        if width == 2:
            a = buffer[0] + buffer[1]
        if width == 4:
            a = (buffer[0] + buffer[1]) + (buffer[2] + buffer[3])
        if width >= 8:
            a = ((buffer[0] + buffer[1]) + (buffer[2] + buffer[3])) + (
                (buffer[4] + buffer[5]) + (buffer[6] + buffer[7])
            )
        if width == 16:
            a += ((buffer[8] + buffer[9]) + (buffer[10] + buffer[11])) + (
                (buffer[12] + buffer[13]) + (buffer[14] + buffer[15])
            )
        total, error = two_sum(high, a)
        return total, low + error

    return add


@cache
def row_sum(real):
    """A device function: the sum over the threads of a row, which all of them get."""
    kind = REALS[real]

    @device
    def reduce(high, low, shared):
        threads, own = cuda.blockDim.x, cuda.threadIdx.x
        if SIMULATED:
            first = cuda.threadIdx.y * threads
            shared[first + own] = high
            shared[PARTS + first + own] = low
            cuda.syncthreads()
            high, low = shared[first], shared[PARTS + first]
            for k in range(1, threads):
                high, error = two_sum(high, shared[first + k])
                low = (low + shared[PARTS + first + k]) + error
            cuda.syncthreads()
            return high, low
        distance = int32(16)
        while distance > 0:
            if distance < threads:
                other, other_low = shuffle_xor(high, distance), shuffle_xor(low, distance)
                high, error = two_sum(high, other)
                low = (low + other_low) + error
            distance >>= 1
        if threads > 32:
            first = cuda.threadIdx.y * (threads >> 5)
            lane = own & 31
            if lane == 0:
                shared[first + (own >> 5)] = high
                shared[PARTS + first + (own >> 5)] = low
            cuda.syncthreads()
            used = lane < (threads >> 5)
            high = shared[first + lane] if used else kind(0)
            low = shared[PARTS + first + lane] if used else kind(0)
            distance = int32(16)
            while distance > 0:
                other, other_low = shuffle_xor(high, distance), shuffle_xor(low, distance)
                high, error = two_sum(high, other)
                low = (low + other_low) + error
                distance >>= 1
            cuda.syncthreads()
        return high, low

    return reduce


def _row_extreme(kind, is_least):
    identity = NOWHERE if is_least else -math.inf

    @device
    def better(a, b):
        return (a if a < b else b) if is_least else (a if a > b else b)

    @device
    def reduce(x, shared):
        threads, own = cuda.blockDim.x, cuda.threadIdx.x
        if SIMULATED:
            first = cuda.threadIdx.y * threads
            shared[first + own] = x
            cuda.syncthreads()
            x = shared[first]
            for k in range(1, threads):
                x = better(x, shared[first + k])
            cuda.syncthreads()
            return x
        distance = int32(16)
        while distance > 0:
            if distance < threads:
                x = better(x, shuffle_xor(x, distance))
            distance >>= 1
        if threads > 32:
            first = cuda.threadIdx.y * (threads >> 5)
            lane = own & 31
            if lane == 0:
                shared[first + (own >> 5)] = x
            cuda.syncthreads()
            x = shared[first + lane] if lane < (threads >> 5) else kind(identity)
            distance = int32(16)
            while distance > 0:
                x = better(x, shuffle_xor(x, distance))
                distance >>= 1
            cuda.syncthreads()
        return x

    return reduce


@cache
def row_maximum(real):
    """A device function: the maximum over the threads of a row. NaN is passed over."""
    return _row_extreme(REALS[real], False)


@cache
def row_least():
    """A device function: the least int64 over the threads of a row."""
    return _row_extreme(int64, True)


@cache
def block_results(real):
    """A device function: adds up what the rows of a block have found, and writes it; each thread has its own part."""
    sum_of_row, least_of_row = row_sum(real), row_least()

    @device
    def write(high, low, bad, shared, places, partials, bad_places):
        high, low = sum_of_row(high, low, shared)
        bad = least_of_row(bad, places)
        if cuda.threadIdx.x == 0:
            shared[cuda.threadIdx.y] = high
            shared[PARTS + cuda.threadIdx.y] = low
            places[cuda.threadIdx.y] = bad
        cuda.syncthreads()
        if cuda.threadIdx.x == 0 and cuda.threadIdx.y == 0:
            for k in range(1, cuda.blockDim.y):
                high, error = two_sum(high, shared[k])
                low = (low + shared[PARTS + k]) + error
                bad = places[k] if places[k] < bad else bad
            partials[2 * cuda.blockIdx.x] = high
            partials[2 * cuda.blockIdx.x + 1] = low
            bad_places[cuda.blockIdx.x] = bad

    return write


# Exponentials of a softmax row: exp(z) times a power of two that is shared, as in csrc/window.h, so that sums can begin
# before the maximum is known, and scaling them is exact. z = k ln(2) + r with the rounding error of neither; bases as
# float32 has them are those of 2, where the device has an instruction. The exponent k of the largest logit becomes
# TOP, and may grow by ROOM while a window is kept; DEPTH below it terms are 0. Logits beyond MOST have no window: their
# terms are taken relative to the maximum, where no difference that matters is rounded.

_EXPONENTS = {
    # real: bits of the mantissa, bias, TOP, ROOM, DEPTH, MOST, the least label's term relative to the top
    "float32": (23, 127, 60, 40, 180, 2.0**20, 2.0**-75),
    "float64": (52, 1023, 500, 300, 1500, 2.0**30, 2.0**-540),
}
_LOG2_E = {"float32": (1.4426950216293335, 1.9259629911266175e-08), "float64": (1.4426950408889634, 2.0355273740931033e-17)}
_LN2 = {"float32": (0.693145751953125, 1.42860682030941723212e-6), "float64": (0.6931471805599453, 2.3190468138462996e-17)}

# ln(2) less its value in the real type
_LN2_ERROR = {"float32": -1.904654299957768e-09, "float64": 2.3190468138462996e-17}


class Window:
    """The device functions of windows in one real type."""

    def __init__(self, real):
        bits, bias, top, room, depth, most, least = _EXPONENTS[real]
        kind = REALS[real]
        log2_high, log2_low = _LOG2_E[real]
        ln2_high, ln2_low = _LN2[real]
        ln2_error, top_term, inverse_top = _LN2_ERROR[real], 2.0**top, 2.0**-top
        magic, lowest = 1.5 * 2.0**bits, -2.0 * (bias - 7)
        magic_bias, reach = magic + bias, (room + depth) * math.log(2)
        base_of_scale = magic + bias + top
        power, fma = power_of_two_from_low_bits(real), fused_multiply_add(real)
        in_base_2 = real == "float32"

        @device
        def fits(maximum):
            """Whether a row of that maximum has a window."""
            return maximum >= kind(-most) and maximum <= kind(most)

        @device
        def exponent(z):
            """k of a logit, as a real."""
            z = kind(-most) if z < kind(-most) else z
            z = kind(most) if z > kind(most) else z
            return (z * kind(log2_high) + kind(magic)) - kind(magic)

        @device
        def offset(k):
            return kind(base_of_scale) - k

        @device
        def floor(k):
            """Terms of smaller logits are 0."""
            return (k - kind(depth)) * kind(0.6931471805599453)

        @device
        def exceeds(z, floor):
            """Whether a term may overflow in the window of that floor."""
            return z > floor + kind(reach)

        @device
        def term(z, offset, floor):
            """exp(z) times the window's power of two; NaN for a NaN."""
            rounded = fma(z, kind(log2_high), offset)
            k = rounded - offset
            if in_base_2:
                part = exp2_near_zero(fma(z, kind(log2_low), fma(z, kind(log2_high), -k)))
            else:
                part = kind(exp(fma(-k, kind(ln2_low), fma(-k, kind(ln2_high), z))))
            return kind(0) if z < floor else part * power(rounded)

        @device
        def rescaled(x, by):
            """x * 2**by for -480 <= by <= 0 (float32: -240); 0 for less."""
            low = kind(lowest)
            half = (by * kind(0.5) + kind(magic)) - kind(magic)
            half = half if by > low else low * kind(0.5)
            rest = by - half if by > low else half
            scaled = x * power(kind(magic_bias) + half) * power(kind(magic_bias) + rest)
            return scaled if by > low else kind(0) * x

        @device
        def relative_term(z, maximum):
            """The same of a row without a window: exp(z - maximum) * 2**TOP."""
            return kind(exp(z - maximum)) * kind(top_term)

        @device
        def far_log(z, base_k, maximum, has_window, total):
            """log(total / 2**TOP) less the logit, which is far below the maximum."""
            if has_window:
                distance = fma(base_k, kind(0.6931471805599453), -z) + base_k * kind(ln2_error)
            else:
                distance = maximum - z
            return distance + kind(math.log(total * kind(inverse_top)))

        self.fits, self.exponent, self.offset, self.floor, self.exceeds = fits, exponent, offset, floor, exceeds
        self.term, self.rescaled, self.relative_term, self.far_log = term, rescaled, relative_term, far_log
        # The exponent of a window that is below every row which has one
        self.lowest = -2.0 * most
        self.least = 2.0**top * least


@cache
def window(real):
    """The window functions of a real type."""
    return Window(real)


@cache
def label_loader(storage):
    """A device function: an entry of memory as an int64 label, NO_LABEL if it is none."""
    if storage in ("float32", "float64", "float16", "bfloat16"):
        as_double = load(storage, "float64", 1)
        double = REALS["float64"]

        @device
        def from_float(memory, index):
            buffer = cuda.local.array(1, double)
            as_double(memory, index, buffer)
            x = buffer[0]
            if x > -4.0e18 and x < 4.0e18 and double(int64(x)) == x:
                return int64(x)
            return int64(NO_LABEL)

        return from_float

    if storage == "uint64":

        @device
        def from_uint64(memory, index):
            x = memory[index]
            return int64(x) if x <= 9223372036854775807 else int64(NO_LABEL)

        return from_uint64

    @device
    def from_integer(memory, index):
        return int64(memory[index])

    return from_integer


@cache
def with_four_parameters(function, inputs):
    """A device function of an element: after `real` and its inputs come four parameters, of which it takes its own."""
    count = len(inspect.signature(function).parameters) - 1 - inputs
    names = [f"x{k}" for k in range(inputs)]
    own = ["a", "b", "c", "d"]
    # Numba compiles calls of a fixed number of arguments alone.
    source = f"lambda {', '.join(['real', *names, *own])}: element({', '.join(['real', *names, *own[:count]])})"
    return device(eval(source, {"element": device(function)}))


def unrolled(step, width):
    """A device function: step(k, found, *arguments) -> found, for k = 0 .. width - 1.

    Where the step is long the compiler keeps a loop, and buffers with an index that it does not know are in memory.
    """
    if width == 1:

        @device
        def first(found, *arguments):
            return step(0, found, *arguments)

        return first
    before, k = unrolled(step, width - 1), width - 1

    @device
    def next_one(found, *arguments):
        return step(k, before(found, *arguments), *arguments)

    return next_one


@device
def find_bad(x, low, high, code, index, place):
    """The earlier of the first bad place so far and this element, if it is out of bounds."""
    found = index * PLACES + (FIRST_ELEMENT + code)
    return found if (x < low or x > high) and found < place else place


_power_of_two = power_of_two_from_low_bits("float64")
_ONE = 1.5 * 2.0**52 + 1023
_double = REALS["float64"]


@device
def inverse_size(x):
    """A power of two that brings a float64 to the size of 1; 1 for what has no size."""
    size = (bits_as_int64(x) >> 52) & 2047
    if x == _double(0) or size == 2047:
        return _double(1)
    return _power_of_two(_double(_ONE) - _double(size - 1023 if size - 1023 < 1022 else 1022))
