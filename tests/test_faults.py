# SPDX-License-Identifier: BSD-3-Clause
"""Forks, threads, other libraries, signals and full disks.

What may hang runs in a process of its own: this file as a script, with the name of a function and its arguments.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
import process
from cases import CASES, STRUCTURED

ALL = {**CASES, **STRUCTURED}
PARALLEL = 70_001  # rows of a call that is large enough for threads

script = functools.partial(process.script, Path(__file__).resolve(), timeout=120, environment={"OMP_NUM_THREADS": "4"})


@functools.cache
def batch(name, rows, columns=3, dtype="f4"):
    case = ALL[name]
    size = min(rows, case.large) if name in STRUCTURED else (rows, columns)
    y_true, y_pred = case.draw(np.random.default_rng(0), size)
    return (y_true if y_true.dtype.kind == "i" else y_true.astype(dtype)), y_pred.astype(dtype)


def digest(name, *size):
    """Of the bits of a value, its gradient and, if there is one, the Hessian."""
    loss, inputs = ALL[name].make(), batch(name, *size)
    outputs = [loss(*inputs), *loss.value_and_grad(*inputs), *(loss.grad_and_hess(*inputs) if loss.has_hessian else ())]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in outputs)).hexdigest()


def large_digest(name):
    with fl.threads(2):
        return digest(name, PARALLEL)


def digests():
    """Of every loss, with threads."""
    return {name: large_digest(name) for name in ALL}


@pytest.fixture(scope="session")
def expected():
    return digests()


# Forks


def in_child(function):
    """What the function returns in a forked child."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(ours)
            with open(theirs, "w") as file:
                json.dump(function(), file)
            status = 0
        os._exit(status)
    os.close(theirs)
    with open(ours) as file:
        text = file.read()
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    return json.loads(text)


def fork():
    digests()
    return in_child(digests)


def fork_before_the_first_use():
    """Both compute, the child first."""
    found = in_child(digests)
    assert digests() == found
    return found


def nested_fork():
    digests()
    return in_child(lambda: [digests(), in_child(digests)])[1]


def fork_while_a_kernel_runs():
    """The kernel's thread is inside of it whenever it looks like it, which is almost always."""
    y_pred = np.zeros((3000, 1000), np.float32)
    loss, stop, names = fl.losses.native_instances()[0][1], threading.Event(), list(ALL)

    def work():
        with fl.threads(2):
            while not stop.is_set():
                assert loss(y_pred, y_pred) == 0

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
        found = {}
        try:
            for i in range(10):
                found |= in_child(lambda i=i: {name: large_digest(name) for name in names[i::10]})
        finally:
            stop.set()
        for worker in workers:
            worker.result()
    return found


def multiprocess(method):
    digests()
    with multiprocessing.get_context(method).Pool(2) as pool:
        return dict(zip(ALL, pool.map(large_digest, ALL), strict=True))


FORKS = (fork, fork_before_the_first_use, nested_fork, fork_while_a_kernel_runs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("function", FORKS, ids=lambda function: function.__name__)
def test_a_forked_child_computes(function, expected, record):
    assert script(function.__name__) == expected
    record[function.__name__] = len(expected)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_started_in_every_way_compute(method, expected, record):
    assert script("multiprocess", method) == expected
    record[method] = len(expected)


def data_loader():
    """Workers of torch compute, after their parent did with threads of both libraries."""
    import torch

    names = list(ALL)

    class Digests(torch.utils.data.Dataset):
        def __len__(self):
            return len(names)

        def __getitem__(self, i):
            return names[i], large_digest(names[i])

    digests()
    torch.set_num_threads(2)
    a = torch.rand(700, 700)
    assert torch.isfinite(a @ a).all()
    return dict(torch.utils.data.DataLoader(Digests(), batch_size=None, num_workers=2, timeout=60))


def test_workers_of_torch_compute(expected, record):
    pytest.importorskip("torch")
    assert script("data_loader") == expected
    record["losses"] = len(expected)


# Threads

SIZES = [(1, 1), (7, 3), (100, 10), (501, 10), (3001, 33), (20_011, 3)]
# Of a thousand calls how many are of these sizes.
OFTEN = [300, 300, 250, 130, 15, 5]


def from_threads(calls, threads="8"):
    """At least so many calls of every thread, of all losses, sizes, dtypes and numbers of threads."""
    jobs = [
        [(name, *size, dtype) for name, dtype in itertools.product(ALL, ("f4", "f8", "f2"))] for size in SIZES
    ]
    expected = {job: digest(*job) for job in itertools.chain(*jobs)}

    def work(seed):
        rng, made, wrong = random.Random(seed), 0, 0
        while made < int(calls):
            job = rng.choice(rng.choices(jobs, OFTEN)[0])
            with fl.threads(rng.choice((1, 1, 2, 3))):
                wrong += digest(*job) != expected[job]
            made += 2 + ALL[job[0]].hessian
        return made, wrong

    with ThreadPoolExecutor(int(threads)) as pool:
        made, wrong = map(sum, zip(*pool.map(work, range(int(threads))), strict=True))
    return {"calls": made, "threads": int(threads), "wrong": wrong}


@pytest.mark.parametrize(
    ("calls", "timeout"), [(200, 120), pytest.param(100_000, 3000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_calls_from_threads_have_the_bits_of_serial_ones(calls, timeout, record):
    found = script("from_threads", calls, timeout=timeout)
    assert found["wrong"] == 0
    record.update(found)


def test_the_gil_is_released():
    """Another thread counts while a long call runs."""
    y_pred = np.zeros((4000, 4000), np.float32)
    loss = fl.losses.native_instances()[0][1]
    ticks, stop = [0], threading.Event()

    def count():
        while not stop.wait(1e-4):
            ticks[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        with fl.threads(1):
            for _ in range(20):
                before = ticks[0]
                loss(y_pred, y_pred)
                if ticks[0] - before >= 3:
                    break
    finally:
        stop.set()
        counter.join()
    assert ticks[0] - before >= 3


# Other libraries with threads of their own


def use_fastloss():
    return digests()


def use_torch():
    import torch

    torch.set_num_threads(2)
    a = np.random.default_rng(0).random((400, 400))
    np.testing.assert_allclose((torch.tensor(a) @ torch.tensor(a)).numpy(), a @ a, rtol=1e-12)
    # Long enough for threads of OpenMP.
    b = torch.linspace(0, 1, 1_000_003, dtype=torch.float64)
    np.testing.assert_allclose(torch.exp(b).numpy(), np.exp(b.numpy()), rtol=1e-14)


def use_sklearn():
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.random.default_rng(0).random((3000, 4))
    y = x[:, 0] > 0.5
    assert abs(HistGradientBoostingRegressor(max_iter=10, learning_rate=0.5).fit(x, y).predict(x) - y).mean() < 0.1


def use_lightgbm():
    import lightgbm

    x = np.random.default_rng(0).random((3000, 4))
    y = x[:, 0] > 0.5
    data = lightgbm.Dataset(x, y.astype(float), params={"verbosity": -1})
    parameters = {"objective": "binary", "learning_rate": 0.5, "num_threads": 2, "verbosity": -1}
    model = lightgbm.train(parameters, data, num_boost_round=10)
    assert abs(model.predict(x) - y).mean() < 0.1


def use(*order):
    """Computes in this order, and again."""
    results = [globals()[f"use_{name}"]() for name in (*order, *order)]
    assert results[order.index("fastloss")] == results[order.index("fastloss") + len(order)]
    return results[order.index("fastloss")]


OTHERS = [name for name in ("torch", "sklearn", "lightgbm") if importlib.util.find_spec(name)]
ORDERS = [(a, b) for a, b in itertools.permutations(["fastloss", *OTHERS], 2) if "fastloss" in (a, b)]
ALL_ORDERS = list(itertools.permutations(["fastloss", *OTHERS])) if len(OTHERS) > 1 else []


@pytest.mark.parametrize(
    "order", ORDERS + [pytest.param(order, marks=pytest.mark.slow) for order in ALL_ORDERS], ids=" ".join
)
def test_other_libraries_in_every_order(order, expected, record):
    """Those that are installed."""
    assert script("use", *order, imports=order) == expected
    record[" ".join(order)] = len(expected)


# Signals and full disks, while files are written


BEFORE = b"as before"


def evaluation(folder, name, *options, largest_file=resource.RLIM_INFINITY):
    def prepare():
        # Which a shell may have told us to ignore.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "fastloss", "evaluate", name, "y.npy", "p.npy", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=prepare)


def save(folder, shape, rng):
    """Numbers between 0 and 1, which are targets and predictions of many losses."""
    part = rng.random((100_003, *shape[1:]), np.float32)
    for name in ("y.npy", "p.npy"):
        array = np.lib.format.open_memmap(folder / name, "w+", np.float32, shape)
        for first in range(0, shape[0], len(part)):
            array[first : first + len(part)] = part[: shape[0] - first]
        array.flush()
    (folder / "g.npy").write_bytes(BEFORE)


def takes_the_same(loss):
    """Whether targets and predictions of a loss may both be between 0 and 1."""
    with contextlib.suppress(ValueError, TypeError):
        loss.accumulator().update(np.full((2, 3), 0.5), np.full((2, 3), 0.25))
        return True
    return False


SAVED = [type(loss).__name__ for _, loss in fl.losses.native_instances() if loss.rowwise and takes_the_same(loss)]


def processor_time(running):
    """Seconds that a process and its threads have computed; 0 if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        user, system = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def ended_processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stopped(folder, running, number):
    """Seconds from a signal to the end of the process, and those it computed. It leaves no file that is not whole."""
    before = ended_processor_time()
    computed = processor_time(running)
    began = time.perf_counter()
    running.send_signal(number)
    error = running.communicate(timeout=60)[1]
    seconds = time.perf_counter() - began, ended_processor_time() - before - computed
    assert sorted(os.listdir(folder)) == ["g.npy", "p.npy", "y.npy"], error
    if (folder / "g.npy").read_bytes()[:9] != BEFORE:
        # It was done.
        assert np.load(folder / "g.npy", mmap_mode="r").shape == np.load(folder / "p.npy", mmap_mode="r").shape
    (folder / "g.npy").write_bytes(BEFORE)
    return seconds, running.returncode, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_command_and_leaves_nothing(tmp_path, number, rng):
    save(tmp_path, (2_000_000, 5), rng)
    running = evaluation(tmp_path, SAVED[0], "--gradient", "g.npy", "--chunk-rows", "1")
    while not list(tmp_path.glob("*.partial")):
        assert running.poll() is None
    assert stopped(tmp_path, running, number)[1:] == (128 + number, "fastloss: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_more_signals_do_not_disturb_the_cleaning(tmp_path, number, rng):
    save(tmp_path, (2_000_000, 5), rng)
    running = evaluation(tmp_path, SAVED[0], "--gradient", "g.npy", "--chunk-rows", "1")
    while not list(tmp_path.glob("*.partial")):
        assert running.poll() is None
    for _ in range(20):
        running.send_signal(number)
    # The last ones may come when Python itself ends.
    assert stopped(tmp_path, running, number)[1] in (128 + number, -number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("shape", [(20_000_000, 5), (100_000_000,)], ids=str)
def test_a_signal_at_any_moment_ends_the_command_soon(tmp_path, number, shape, seed, record):
    """However large the chunks that were asked for. One dimension is one row to some losses, which is never cut."""
    rng = random.Random(seed)
    save(tmp_path, shape, np.random.default_rng(seed))
    began, times, interrupted = time.perf_counter(), [], 0
    undisturbed = evaluation(tmp_path, SAVED[0], "--gradient", "g.npy")
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    whole = time.perf_counter() - began
    for run in range(20):
        options = ["--chunk-rows", str(10**9)] if run % 2 else []
        running = evaluation(tmp_path, rng.choice(SAVED), "--gradient", "g.npy", *options)
        time.sleep(rng.uniform(0, whole))
        seconds, status, error = stopped(tmp_path, running, number)
        # Before main is reached Python itself ends.
        assert status in (0, 128 + number, -number), error
        times.append(seconds)
        interrupted += status != 0
    # Some losses are done sooner than others.
    assert interrupted >= 5
    record["interrupted"] = interrupted
    record["runs"] = len(times)
    waited, computed = map(sorted, zip(*times, strict=True))
    record["median seconds"], record["most seconds"] = waited[10], waited[-1]
    # On a machine that does other things besides.
    record["processes a core"] = os.getloadavg()[0] / os.cpu_count()
    record["median seconds computed"], record["most seconds computed"] = computed[10], computed[-1]
    # What it computes is next to nothing; a busy machine may let it wait.
    assert computed[-1] < 1, times
    assert waited[-1] < 10, times


def without_room(folder, option, kind):
    """Evaluates into a file that may not be as large, or on a disk that is full."""
    folder, new_namespace = Path(folder), 0x20000
    if kind == "disk":
        if ctypes.CDLL(None, use_errno=True).unshare(new_namespace) != 0:
            return "may not mount"
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    save(folder, (20_000, 5) if option == "--gradient" else (100_000, 1), np.random.default_rng(0))
    limits = {"largest_file": 300_000} if kind == "file" else {}
    running = evaluation(folder, SAVED[0], option, "g.npy", **limits)
    output, error = running.communicate(timeout=60)
    left = sorted(os.listdir(folder))
    return [running.returncode, output, error, left, (folder / "g.npy").read_bytes() == BEFORE]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("option", ["--gradient", "--per-sample"])
@pytest.mark.parametrize(
    ("kind", "message"), [("file", "File too large"), *([("disk", "No space left on device")] if os.geteuid() == 0 else [])]
)
def test_without_room_there_is_one_line_and_the_file_that_was(tmp_path, option, kind, message):
    found = script("without_room", tmp_path, option, kind)
    if found == "may not mount":
        pytest.skip(found)
    assert found == [2, "", f"fastloss: error: g.npy: {message}\n", ["g.npy", "p.npy", "y.npy"], True]


if __name__ == "__main__":
    process.answer(globals())
