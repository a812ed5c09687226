# SPDX-License-Identifier: BSD-3-Clause
"""Functions of a test file in processes of their own, which may crash or hang."""

import json
import os
import signal
import subprocess
import sys

import pytest


def script(file, function, *arguments, imports=(), timeout=300, environment=None):
    """What a function of the file returns, called with strings in a process of its own; see `answer`.

    Modules that are to be imported before the file is come first, in their order.
    """
    code = f"import {', '.join(('runpy', 'sys', *imports))}; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *(("-c", code) if imports else ()), file, function, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(file.parent), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # Its children too.
        os.killpg(process.pid, signal.SIGABRT)
        pytest.fail(f"hangs: {process.communicate()[1][-3000:]}")
    assert process.returncode == 0, f"status {process.returncode}: {error[-3000:]}"
    return json.loads(output.splitlines()[-1])


def answer(functions):
    """The other end: calls the function of this name."""
    print("\n" + json.dumps(functions[sys.argv[1]](*sys.argv[2:])))
