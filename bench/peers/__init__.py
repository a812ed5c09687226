# SPDX-License-Identifier: BSD-3-Clause
"""What fastloss is measured against: an adapter for each library, a module that has

    PACKAGES   the distributions it runs on
    prepare(work, operation, threads) -> a callable without arguments, compiled and ready to be timed
    arrays(output) -> the value, or value and gradient, or gradient and Hessian, as NumPy arrays or numbers

`prepare` raises Missing, with the reason, where the library has no such loss, dtype or operation. Whatever it takes
to convert or allocate is done there, and not timed, unless the library cannot do without it in each call.
"""

import importlib
import importlib.metadata

OPERATIONS = ("value", "value_and_grad", "grad_and_hess")

MODULES = {
    "NumPy": "numpy_formula",
    "Numba": "numba_loops",
    "PyTorch": "torch_eager",
    "torch.compile": "torch_compiled",
    "JAX": "jax_jit",
    "Keras": "keras_torch",
    "scikit-learn": "sklearn_loss",
    "numexpr": "numexpr_expression",
}

# Keras's other backends, whose accuracy is of interest, not their speed. One process can have one backend.
KERAS = {"Keras on JAX": "keras_jax", "Keras on NumPy": "keras_numpy"}

# They take seconds to compile a row.
COSTLY = ("Numba", "torch.compile")


class Missing(Exception):
    """Why a peer is left out of a row."""


class Wrong(Missing):
    """It fails, or its results are not those of fastloss."""


def load(name):
    """The adapter of a peer; raises Missing if its library is not installed, or no longer has what it takes."""
    try:
        return importlib.import_module(f"peers.{(MODULES | KERAS)[name]}")
    except ImportError as error:
        raise Missing(str(error)) from None


def installed():
    """The peers whose libraries are installed."""
    found = []
    for name in MODULES:
        try:
            load(name)
        except Missing:
            continue
        found.append(name)
    return found


def versions(names):
    """The version of every distribution that these peers run on."""
    packages = {package for name in names for package in load(name).PACKAGES}
    return {package: importlib.metadata.version(package) for package in sorted(packages)}
