# SPDX-License-Identifier: BSD-3-Clause
"""The one module that knows numba-cuda: everything that its successor would have to offer.

Kernels and device functions are plain Python in the other modules. Here they become machine code: `compile_kernel`
for a compute capability, with or without a device, or `simulated_kernel` under NUMBA_ENABLE_CUDASIM=1. What
Numba has no words for (vectors of 16 bytes, bits of a number, the approximate exponential) are the intrinsics below,
each beside what it means in Python, which the simulator runs.
"""

import math
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from numba import cuda
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)

# Storage of arrays: bytes, and the NumPy dtype that memory is seen as.
STORAGES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "bool": np.dtype(np.uint8),
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
FLOATS = ("float32", "float64", "float16", "bfloat16")


def device(function):
    """A function that kernels call."""
    if not SIMULATED:
        return cuda.jit(device=True)(function)
    # The simulator replaces `cuda` for what it wraps, at a price.
    return cuda.jit(device=True)(function) if "cuda" in function.__code__.co_names else function


if SIMULATED:
    from numba.cuda.simulator import kernelapi
    from numba.cuda.simulator.cudadrv import devicearray

    DeviceArray = devicearray.FakeCUDAArray

    _shared_lock = threading.Lock()

    def _shared_array(self, shape, dtype, alignment=None):
        """The simulator's own would give two threads that ask at once an array each."""
        dtype = np.dtype(dtype)
        if shape == 0:
            return np.frombuffer(self._dynshared.data, dtype=dtype, count=self._dynshared_size // dtype.itemsize)
        with _shared_lock:
            return self._allocations.setdefault(sys._getframe(1).f_lineno, np.empty(shape, dtype))

    kernelapi.FakeCUDAShared.array = _shared_array

    REALS = {"float32": np.float32, "float64": np.float64}
    int32, int64 = np.int32, np.int64

    def shared_type(storage):
        """The element type of shared memory that keeps elements of a storage."""
        return STORAGES[storage]

    def load(storage, real, width, start=0):
        """A device function: `width` elements of memory from an index on, as reals, into a buffer from `start` on."""
        cast = REALS[real]

        def loader(memory, index, buffer):
            for k in range(width):
                x = memory[index + k]
                if storage == "bfloat16":
                    x = np.uint32(int(x) << 16).view(np.float32)
                buffer[start + k] = cast(x)

        return loader

    def store(storage, real, width):
        """A device function: `width` reals of a buffer to memory from an index on, rounded to the storage."""

        def storer(memory, index, buffer):
            for k in range(width):
                memory[index + k] = _bfloat16_bits(buffer[k]) if storage == "bfloat16" else buffer[k]

        return storer

    def _bfloat16_bits(x):
        bits = int(np.float32(x).view(np.uint32))
        return 0x7FC0 if np.isnan(x) else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16

    def copy(storage, width):
        """A device function: `width` elements from memory to memory, as they are."""

        def copier(source, index, target, place):
            for k in range(width):
                target[place + k] = source[index + k]

        return copier

    def bits_as_int64(x):
        """The bits of a float64."""
        return np.float64(x).view(np.int64)

    def power_of_two_from_low_bits(real):
        """A device function: 2**(e - bias) of a real whose lowest bits are the integer e."""
        bias = 127 if real == "float32" else 1023

        def power(x):
            integer = int(REALS[real](x).view(np.int32 if real == "float32" else np.int64))
            return REALS[real](np.ldexp(1.0, (integer & (2 * bias + 1)) - bias))

        return power

    def exp2_near_zero(x):
        """2**x for |x| <= 1/2, to some 2 ulp."""
        return np.float32(2.0 ** float(x) if not abs(x) > 1000.0 else math.inf)

    def fused_multiply_add(real):
        """A device function: a * b + c, rounded once."""
        cast, wide = REALS[real], np.float64 if real == "float32" else np.longdouble

        def fma(a, b, c):
            return cast(wide(a) * wide(b) + wide(c))

        return fma

    def maximum(real):
        """A device function: the larger of two; of a number and a NaN the number."""
        return np.fmax

    def exp(x):
        """exp(x); Python's raises where the result is infinite."""
        return math.exp(x) if not x > 709.0 else math.inf

    def shuffle_xor(x, distance):
        """What the lane at that distance holds; there are no warps in the simulator."""
        raise NotImplementedError

else:
    from llvmlite import ir
    from numba.cuda import compiler, dispatcher, libdevice, types
    from numba.cuda.core import sigutils
    from numba.cuda.core.compiler_lock import global_compiler_lock
    from numba.cuda.cudadrv import devicearray, nvvm
    from numba.cuda.extending import intrinsic

    DeviceArray = devicearray.DeviceNDArray

    REALS = {"float32": types.float32, "float64": types.float64}
    int32, int64 = types.int32, types.int64
    _LLVM_REALS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
    _LLVM = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "float16": ir.HalfType(), "bfloat16": ir.IntType(16)}
    _INT32 = ir.IntType(32)

    def _constant(number):
        return ir.Constant(_INT32, number)

    def _address(context, builder, ty, value):
        """The address that a pointer or an array of shared or local memory begins at."""
        return context.make_array(ty)(context, builder, value).data if isinstance(ty, types.Array) else value

    def _vector_pointer(builder, pointer, index, element, count):
        place = builder.gep(pointer, [index])
        whole = ir.VectorType(element, count) if count > 1 else element
        return builder.bitcast(place, whole.as_pointer(place.type.addrspace))

    def _load_bits(builder, pointer, index, storage, width):
        """The elements of one load, of the storage's own LLVM type; integers as they are."""
        if storage in ("float16", "bfloat16") and width % 2 == 0:
            # By words: a vector of 8 halves would become two loads.
            words = builder.load(_vector_pointer(builder, pointer, index, _INT32, width // 2), align=min(16, 2 * width))
            halves = []
            for k in range(width // 2):
                word = builder.extract_element(words, _constant(k)) if width > 2 else words
                high = builder.lshr(word, _constant(16))
                halves += [builder.trunc(x, ir.IntType(16)) for x in (word, high)]
            return halves if storage == "bfloat16" else [builder.bitcast(x, ir.HalfType()) for x in halves]
        size = STORAGES[storage].itemsize
        element = _LLVM.get(storage, ir.IntType(8 * size))
        vector = builder.load(_vector_pointer(builder, pointer, index, element, width), align=min(16, size * width))
        return [builder.extract_element(vector, _constant(k)) if width > 1 else vector for k in range(width)]

    def _to_real(builder, x, storage, real):
        to = _LLVM_REALS[real]
        if storage == "bfloat16":
            x = builder.bitcast(builder.shl(builder.zext(x, _INT32), _constant(16)), ir.FloatType())
        elif storage == "bool":
            return builder.uitofp(builder.zext(builder.icmp_unsigned("!=", x, ir.Constant(x.type, 0)), _INT32), to)
        elif storage.startswith("u"):
            return builder.uitofp(x, to)
        elif storage.startswith("int"):
            return builder.sitofp(x, to)
        if x.type == to:
            return x
        return builder.fptrunc(x, to) if storage == "float64" else builder.fpext(x, to)

    def shared_type(storage):
        """The element type of shared memory that keeps elements of a storage."""
        return STORAGES["uint16" if storage == "float16" else storage].type

    def load(storage, real, width, start=0):
        """A device function: `width` elements of memory from an index on, as reals, into a buffer from `start` on."""

        @intrinsic
        def loader(typingctx, memory, index, buffer):
            def codegen(context, builder, sig, args):
                pointer, to = (_address(context, builder, sig.args[i], args[i]) for i in (0, 2))
                for k, x in enumerate(_load_bits(builder, pointer, args[1], storage, width)):
                    builder.store(_to_real(builder, x, storage, real), builder.gep(to, [_constant(start + k)]))
                return context.get_dummy_value()

            return types.none(memory, types.int64, buffer), codegen

        return loader

    def _from_real(builder, x, storage, real):
        if storage == real:
            return x
        if storage == "float64":
            return builder.fpext(x, ir.DoubleType())
        if storage == "float16":
            return builder.fptrunc(x, ir.HalfType())
        x = x if real == "float32" else builder.fptrunc(x, ir.FloatType())
        return x if storage == "float32" else _rounded(builder, "cvt.rn.bf16.f32 $0, $1;", "=h,f", ir.IntType(16), x)

    def _rounded(builder, instruction, registers, result, *floats):
        """Of floats, to halves, by one instruction of compute capability 8.0 and later, where LLVM would take several."""
        kind = ir.FunctionType(result, [ir.FloatType()] * len(floats))
        return builder.call(ir.InlineAsm(kind, instruction, registers, side_effect=False), list(floats))

    def store(storage, real, width):
        """A device function: `width` reals of a buffer to memory from an index on, rounded to the storage."""

        @intrinsic
        def storer(typingctx, memory, index, buffer):
            def codegen(context, builder, sig, args):
                pointer, source = (_address(context, builder, sig.args[i], args[i]) for i in (0, 2))
                reals = [builder.load(builder.gep(source, [_constant(k)])) for k in range(width)]
                size = STORAGES[storage].itemsize
                if size == 2 and width % 2 == 0 and storage == "float16" and real == "float64":
                    # Rounded once, as single elements are.
                    halves = [builder.bitcast(_from_real(builder, x, storage, real), ir.IntType(16)) for x in reals]
                    words = [builder.zext(x, _INT32) for x in halves]
                    values = [
                        builder.or_(a, builder.shl(b, _constant(16)))
                        for a, b in zip(words[::2], words[1::2], strict=True)
                    ]
                    element = _INT32
                elif size == 2 and width % 2 == 0:
                    # By words, for the same reason as loads.
                    instruction = f"cvt.rn.{'b' if storage == 'bfloat16' else ''}f16x2.f32 $0, $1, $2;"
                    reals = reals if real == "float32" else [builder.fptrunc(x, ir.FloatType()) for x in reals]
                    values = [
                        _rounded(builder, instruction, "=r,f,f", _INT32, high, low)
                        for low, high in zip(reals[::2], reals[1::2], strict=True)
                    ]
                    element = _INT32
                else:
                    values = [_from_real(builder, x, storage, real) for x in reals]
                    element = _LLVM[storage]
                vector = values[0]
                if len(values) > 1:
                    vector = ir.Constant(ir.VectorType(element, len(values)), ir.Undefined)
                    for k, x in enumerate(values):
                        vector = builder.insert_element(vector, x, _constant(k))
                place = _vector_pointer(builder, pointer, args[1], element, len(values))
                builder.store(vector, place, align=min(16, size * width))
                return context.get_dummy_value()

            return types.none(memory, types.int64, buffer), codegen

        return storer

    def copy(storage, width):
        """A device function: `width` elements from memory to memory, as they are."""
        size = STORAGES[storage].itemsize
        element, count = (_INT32, size * width // 4) if size * width >= 4 else (ir.IntType(8 * size), width)

        @intrinsic
        def copier(typingctx, source, index, target, place):
            def codegen(context, builder, sig, args):
                pointer, to = (_address(context, builder, sig.args[i], args[i]) for i in (0, 2))
                vector = builder.load(
                    _vector_pointer(builder, pointer, args[1], element, count), align=min(16, size * width)
                )
                builder.store(
                    vector, _vector_pointer(builder, to, args[3], element, count), align=min(16, size * width)
                )
                return context.get_dummy_value()

            return types.none(source, types.int64, target, types.int64), codegen

        return copier

    def _unary(result, argument, generate):
        @intrinsic
        def unary(typingctx, x):
            def codegen(context, builder, sig, args):
                return generate(builder, args[0])

            return result(argument), codegen

        return unary

    bits_as_int64 = _unary(types.int64, types.float64, lambda builder, x: builder.bitcast(x, ir.IntType(64)))

    def power_of_two_from_low_bits(real):
        """A device function: 2**(e - bias) of a real whose lowest bits are the integer e."""
        integer, shift = (ir.IntType(32), 23) if real == "float32" else (ir.IntType(64), 52)

        def generate(builder, x):
            moved = builder.shl(builder.bitcast(x, integer), ir.Constant(integer, shift))
            return builder.bitcast(moved, _LLVM_REALS[real])

        return _unary(REALS[real], REALS[real], generate)

    def _approximate_exp2(builder, x):
        name = "llvm.nvvm.ex2.approx.ftz.f"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(ir.FloatType(), [ir.FloatType()]), name)
        return builder.call(function, [x])

    # 2**x for |x| <= 1/2, to some 2 ulp.
    exp2_near_zero = _unary(types.float32, types.float32, _approximate_exp2)

    def maximum(real):
        """A device function: the larger of two; of a number and a NaN the number."""
        return libdevice.fmaxf if real == "float32" else libdevice.fmax

    @cuda.jit(device=True)
    def exp(x):
        """exp(x); Python's raises where the result is infinite."""
        return math.exp(x)

    @cuda.jit(device=True)
    def _fma(a, b, c):
        return cuda.fma(a, b, c)

    def fused_multiply_add(real):
        """A device function: a * b + c, rounded once."""
        return _fma

    @cuda.jit(device=True)
    def shuffle_xor(x, distance):
        """What the lane at that distance holds."""
        return cuda.shfl_xor_sync(0xFFFFFFFF, x, distance)

    def pointer_to(storage):
        """The type of an argument that points to memory of a storage."""
        return types.CPointer(getattr(types, STORAGES[storage].name))

    def signature(arguments):
        """Of a kernel: names of storages with a '*' for pointers, names of scalars without."""
        kinds = [pointer_to(name[:-1]) if name.endswith("*") else getattr(types, name) for name in arguments]
        return types.void(*kinds)

    @contextmanager
    def _device_functions_for(capability):
        """Numba asks the device what to compile functions for, and there may be none, or another."""
        # Under Numba's own lock, which whoever else compiles holds too.
        with global_compiler_lock:
            asked = dispatcher.get_current_device
            dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
            try:
                yield
            finally:
                dispatcher.get_current_device = asked

    def compile_kernel(function, arguments, capabilities, bounds):
        """PTX of a kernel for each compute capability, and the name of its entry.

        As C is compiled, a product and a sum are not contracted: element functions that make good for rounding errors
        rely on it, and where a fused multiply-add is wanted it is written.
        """
        types_of_arguments, _ = sigutils.normalize_signature(signature(arguments))
        options = {"opt": 3, "fma": 0, "fastmath": False}
        with _device_functions_for(capabilities[0]):
            result = compiler.compile_cuda(
                function, types.void, types_of_arguments, fastmath=False, nvvm_options=options, cc=capabilities[0],
                abi="numba", abi_info={},
            )  # fmt: skip
            entry = result.fndesc.llvm_func_name
            kernel = result.library.get_function(entry)
            result.library._entry_name = entry
            compiler.kernel_fixup(kernel, False)
            nvvm.set_launch_bounds(kernel, bounds)
            texts = [result.library.get_asm_strs(cc=capability) for capability in capabilities]
        return [ptx for (ptx,) in texts], entry


def simulated_kernel(function):
    """What launches a kernel in the simulator: [grid, block, stream, bytes of shared memory](*arguments)"""
    return cuda.jit(function)
