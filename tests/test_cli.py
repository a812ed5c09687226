# SPDX-License-Identifier: BSD-3-Clause
"""The command `fastloss`: what it prints, what it writes, and what it says when something is wrong."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss.cli import main
from fastloss.cli.files import NpyFile, open_array

INSTANCES = {name: loss for name, loss in fl.losses.native_instances() if loss.rowwise}
CLASSES = 5


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys):
    """Run the command: (exit status, stdout, stderr)."""

    def run(command):
        status = main(command.split())
        return status, *capsys.readouterr()

    return run


def save_csv(path, array):
    np.savetxt(path, array, delimiter=",", fmt="%.17g" if array.dtype.kind == "f" else "%d")


def data_for(loss, rows, dtype=np.float32):
    """(y_true, y_pred) of the sort that `loss` says it takes."""
    rng = np.random.default_rng(rows)
    real = rng.normal(size=(rows, CLASSES))
    distribution = np.exp(real) / np.exp(real).sum(axis=-1, keepdims=True)
    label = rng.integers(CLASSES, size=rows)
    y_true = {
        "real": rng.normal(size=real.shape),
        # All but the last rows look like 0/1 labels: only the whole file tells that they are not.
        "sign": np.where(np.arange(rows) < rows - 3, rng.integers(2, size=(CLASSES, rows)), -1).T,
        "binary": rng.integers(2, size=real.shape),
        "count": rng.poisson(2, size=real.shape),
        "positive": np.exp(rng.normal(size=real.shape)),
        "distribution": rng.dirichlet(np.ones(CLASSES), size=rows),
        "one_hot": np.eye(CLASSES)[label],
        "label": label,
        "scalar": rng.normal(size=rows),
    }[loss.target]
    y_pred = {
        "real": real,
        "positive": np.exp(real),
        "logit": real,
        "probability": 1 / (1 + np.exp(-real)),
        "distribution": distribution,
        "logits": real,
        "location_scale": real[:, :2],
    }[loss.prediction]
    return (y_true if loss.target == "label" else y_true.astype(dtype)), y_pred.astype(dtype)


def several_blocks(loss):
    """A number of rows that is three blocks and a bit."""
    return 3 * loss.accumulator().block_rows((10**6, CLASSES)) + 5


def value_of(output):
    return float(json.loads(output)["value"])


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", INSTANCES)
def test_value_per_sample_and_gradient_are_those_in_memory(cli, name):
    loss = INSTANCES[name]
    y_true, y_pred = data_for(loss, several_blocks(loss))
    weight = np.random.default_rng(1).uniform(size=len(y_pred)).astype(np.float32)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", weight)
    value, gradient = loss.value_and_grad(y_true, y_pred, sample_weight=weight)
    none = type(loss).from_config({**loss.get_config(), "reduction": None})
    from_logits = "--from-logits" if getattr(loss, "from_logits", False) else ""
    command = f"evaluate {type(loss).__name__} y.npy p.npy --sample-weight w.npy {from_logits}"
    for rows in (1, 33, len(y_pred) // 2 + 1, 10**9):
        status, output, error = cli(
            f"{command} --json --chunk-rows {rows} --per-sample l.npy --gradient g.npy"
        )
        assert (status, error) == (0, "")
        assert value_of(output) == float(value)
        assert same_bits(np.load("l.npy"), none(y_true, y_pred, sample_weight=weight))
        assert same_bits(np.load("g.npy"), gradient)
    assert sorted(os.listdir()) == ["g.npy", "l.npy", "p.npy", "w.npy", "y.npy"]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_reductions(cli, reduction):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 1000, 3))
    weight = rng.uniform(size=1000)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", weight)
    status, output, _ = cli(f"evaluate mse y.npy p.npy --json --sample-weight w.npy --reduction {reduction}")
    assert status == 0
    assert value_of(output) == fl.MeanSquaredError(reduction=reduction)(y_true, y_pred, sample_weight=weight)


def test_no_reduction(cli):
    y_true, y_pred = np.random.default_rng(0).normal(size=(2, 100, 3))
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    status, _, error = cli("evaluate mse y.npy p.npy --reduction none")
    assert status == 2
    assert (
        error == "fastloss: error: reduction none has no single value to print; give --per-sample OUT.npy\n"
    )
    command = "evaluate mse y.npy p.npy --reduction none --per-sample l.npy --gradient g.npy"
    status, output, _ = cli(command)
    assert status == 0
    assert "value" not in output
    losses, gradient = fl.MeanSquaredError(reduction=None).value_and_grad(y_true, y_pred)
    assert same_bits(np.load("l.npy"), losses)
    assert same_bits(np.load("g.npy"), gradient)
    status, output, _ = cli(command + " --json")
    assert json.loads(output)["value"] is None


def test_text_output(cli):
    np.save("y.npy", np.zeros((4, 1), np.float32))
    np.save("p.npy", np.full((4, 1), 0.1, np.float32))
    status, output, error = cli("evaluate mse y.npy p.npy")
    assert (status, error) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert [name for name, _ in lines] == ["value", "samples", "seconds", "GB/s"]
    assert np.float32(lines[0][1]) == fl.MeanSquaredError()(np.load("y.npy"), np.load("p.npy"))
    assert lines[1][1] == "4"


def test_progress_bar_in_a_terminal(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    np.save("y.npy", np.zeros((1000, 3)))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["evaluate", "mse", "y.npy", "y.npy"]) == 0
    assert "%|" in sys.stderr.getvalue()
    assert "%|" not in capsys.readouterr().out


def test_values_that_json_lacks(cli):
    np.save("y.npy", np.zeros((2, 1)))
    for number, text in ((np.nan, "nan"), (np.inf, "inf")):
        np.save("p.npy", np.full((2, 1), number))
        assert json.loads(cli("evaluate mse y.npy p.npy --json")[1])["value"] == text


@pytest.mark.parametrize("name", ["Huber", "huber"])
def test_param(cli, name):
    y_true, y_pred = np.random.default_rng(0).normal(size=(2, 50, 3))
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    _, output, _ = cli(f"evaluate {name} y.npy p.npy --param delta=0.25 --param name=mine --json")
    assert value_of(output) == fl.Huber(delta=0.25)(y_true, y_pred)


def test_kinds_of_files_agree(cli):
    """More rows than one chunk, in every container and memory order."""
    rng = np.random.default_rng(0)
    y_pred = rng.normal(size=(2500, CLASSES))
    y_true = rng.integers(CLASSES, size=2500)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("p-fortran.npy", np.asfortranarray(y_pred))
    np.save("p-swapped.npy", y_pred.astype(">f8"))
    np.savez("one.npz", p=y_pred)
    np.savez_compressed("two.npz", y=y_true, p=y_pred, f=np.asfortranarray(y_pred))
    save_csv("y.csv", y_true)
    save_csv("p.csv", y_pred)
    with open("header.csv", "w", encoding="utf-8-sig", newline="") as file:
        file.write('"a, first",b,c,d,e\r\n\r\n')
        file.writelines(",".join(f'"{number!r}"' for number in row) + "\r\n\r\n" for row in y_pred.tolist())

    command = "evaluate SparseCategoricalCrossentropy --from-logits --json"
    predictions = ["p.npy", "p-fortran.npy", "p-swapped.npy", "p.csv", "header.csv"]
    predictions += ["one.npz", "one.npz:p", "two.npz:p.npy", "two.npz:f"]
    expected = fl.SparseCategoricalCrossentropy(from_logits=True)(y_true, y_pred)
    for y in ("y.npy", "y.csv", "two.npz:y"):
        for p in predictions:
            for chunk_rows in (99, 10**6):
                status, output, error = cli(f"{command} {y} {p} --chunk-rows {chunk_rows}")
                assert (status, error, value_of(output)) == (0, "", float(expected)), (y, p)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(0, 3), (7,), (5, 3), (4, 3, 2), (4, 0), (3, 600)])
def test_chunks_are_the_rows(monkeypatch, shape, order):
    monkeypatch.setattr(NpyFile, "COLUMNS", 4)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save("a.npy", np.asarray(array, order=order))
    np.savez("a.npz", np.asarray(array, order=order))
    for name in ("a.npy", "a.npz"):
        for rows in (1, 2, 100):
            file = open_array(name)
            for _ in range(2):
                chunks = [chunk.copy() for chunk in file.chunks(rows)]
                assert all(len(chunk) == rows for chunk in chunks[:-1])
                assert same_bits(np.concatenate(chunks), array)
            assert (file.shape, file.dtype, file.nbytes) == (shape, array.dtype, array.nbytes)


@pytest.mark.parametrize("weights", ["", "--sample-weight w.npy"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("cls", [fl.MeanSquaredError, fl.KLDivergence])
def test_one_dimension(cli, cls, reduction, weights):
    y_true, y_pred, weight = np.random.default_rng(0).uniform(size=(3, 40000)).astype(np.float32)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", weight)
    command = f"evaluate {cls.__name__} y.npy p.npy --reduction {reduction} {weights} --json --chunk-rows 1"
    status, output, _ = cli(f"{command} --gradient g.npy --per-sample l.npy")
    assert status == 0
    weight = weight if weights else np.ones_like(weight)
    value, gradient = cls(reduction=reduction).value_and_grad(y_true, y_pred, weight if weights else None)
    assert value_of(output) == value
    assert same_bits(np.load("g.npy"), gradient)
    assert same_bits(np.load("l.npy"), cls(reduction=None)(y_true, y_pred, weight))


@pytest.mark.parametrize("shape", [(), (1,), (60,), (60, 1), (1, 4), (4,), (60, 4)])
def test_weights_of_every_shape(cli, shape):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 60, 4, 3))
    weight = rng.uniform(size=shape)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", weight)
    _, output, _ = cli(
        "evaluate mse y.npy p.npy --sample-weight w.npy --json --chunk-rows 4 --per-sample l.npy"
    )
    assert value_of(output) == fl.MeanSquaredError()(y_true, y_pred, sample_weight=weight)
    assert same_bits(
        np.load("l.npy"), fl.MeanSquaredError(reduction=None)(y_true, y_pred, sample_weight=weight)
    )


def test_no_rows(cli):
    np.save("y.npy", np.zeros((0, 3)))
    np.save("p.npy", np.zeros((0, 3)))
    status, output, _ = cli("evaluate mse y.npy p.npy --json --gradient g.npy --per-sample l.npy")
    assert (status, value_of(output)) == (0, 0.0)
    assert np.load("g.npy").shape == (0, 3)
    assert np.load("l.npy").shape == (0,)


@pytest.fixture
def bad_files():
    rng = np.random.default_rng(0)
    np.save("y.npy", np.arange(200) % CLASSES)
    np.save("p.npy", rng.normal(size=(200, CLASSES)))
    np.save("short.npy", np.zeros((199, CLASSES)))
    np.save("wide.npy", np.zeros((200, 9)))
    np.save("vast.npy", np.zeros((0, 10**12)))
    np.save("text.npy", np.array(["a", "b"]))
    np.save("w3.npy", np.ones(3))
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    np.savez("empty.npz")
    weight = np.ones(200)
    weight[123] = np.nan
    np.save("w-nan.npy", weight)
    label = np.arange(200) % CLASSES
    label[177] = 12
    np.save("label.npy", label)
    np.savez("label.npz", label)
    save_csv("label.csv", label)
    Path("cut.npy").write_bytes(Path("p.npy").read_bytes()[:-8])
    Path("text.npz").write_bytes(b"not an archive")
    Path("garbage.npy").write_bytes(b"not an array")
    Path("empty.csv").write_bytes(b"\n\n")
    Path("cell.csv").write_bytes(b"a,b\n1,2\n\n3,four\n")
    Path("ragged.csv").write_bytes(b"1,2\n3,4\n5\n")
    np.savez_compressed("damaged.npz", rng.normal(size=(200, CLASSES)))
    archive = bytearray(Path("damaged.npz").read_bytes())
    archive[3000] ^= 255
    Path("damaged.npz").write_bytes(archive)


BAD = [
    ("nonsense y.npy p.npy", "*'nonsense'*"),
    ("mse none.npy p.npy", "none.npy: No such file or directory"),
    ("mse y.txt p.npy", "y.txt: unknown kind of file; expected .npy, .npz, .npz:member or .csv"),
    ("mse p.npy short.npy", "p.npy has 200 rows, short.npy has 199"),
    ("mse vast.npy vast.npy", "vast.npy has no rows, of 1000000000000 elements each"),
    ("mse p.npy wide.npy", "p.npy, wide.npy: * (200, 5) * (200, 9)*"),
    ("mse p.npy text.npy", "text.npy: holds dtype <U1, not numbers"),
    ("mse p.npy cut.npy", "cut.npy: cut short: (200, 5) of float64 is 8000 bytes, the file has 7992"),
    ("mse p.npy garbage.npy", "garbage.npy: not a .npy array of numbers: *"),
    ("mse p.npy two.npz", "two.npz: has 2 arrays (a, b); write two.npz:MEMBER"),
    ("mse p.npy two.npz:c", "two.npz:c: no such array; the archive has a, b"),
    ("mse p.npy empty.npz:c", "empty.npz:c: no such array; the archive has none"),
    ("mse p.npy text.npz", "text.npz: damaged or unsupported archive: File is not a zip file"),
    ("mse p.npy damaged.npz", "damaged.npz: damaged or unsupported archive: *"),
    ("mse p.npy none.npz", "none.npz: No such file or directory"),
    ("mse empty.csv p.npy", "empty.csv: empty"),
    ("mse cell.csv cell.csv", "cell.csv: row 1, column 1: 'four' is not a number"),
    ("mse ragged.csv ragged.csv", "ragged.csv: row 2 has 1 values, expected 2"),
    ("mse p.npy p.npy --sample-weight w3.npy", "p.npy, p.npy, w3.npy: *(3,)*"),
    ("mse p.npy p.npy --sample-weight w-nan.npy", "w-nan.npy: row 123 is nan, expected *"),
    ("SparseCategoricalCrossentropy label.npy p.npy", "label.npy: row 177 is 12, expected *"),
    ("SparseCategoricalCrossentropy label.npz p.npy", "label.npz: row 177 is 12, expected *"),
    ("SparseCategoricalCrossentropy label.csv p.npy", "label.csv: row 177 is 12.0, expected *"),
    ("SparseCategoricalCrossentropy y.npy p.npy --param axis=0", "*"),
    (
        "Huber p.npy p.npy --param width=1",
        "Huber has no parameter 'width'; it has delta, reduction, name, dtype",
    ),
    ("Huber p.npy p.npy --param delta=-1", "Huber: *delta*-1*"),
    ("Huber p.npy p.npy --from-logits", "Huber has no parameter 'from_logits'; it has delta, *"),
    ("mse p.npy p.npy --reduction median", "MeanSquaredError: *'median'*"),
    (
        "mse p.npy p.npy --per-sample a.npy --gradient a.npy",
        "a.npy: named for both --per-sample and --gradient",
    ),
    ("mse p.npy p.npy --gradient no/such/folder.npy", "no/such/folder.npy: No such file or directory"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[command for command, _ in BAD])
def test_errors_are_one_line_and_leave_nothing(cli, bad_files, command, message):
    before = sorted(os.listdir())
    outputs = "" if "--gradient" in command else "--gradient g.npy --per-sample l.npy"
    status, output, error = cli(f"evaluate {command} {outputs} --chunk-rows 50")
    assert (status, output) == (2, "")
    # `*` stands for words that are the core's to choose.
    pattern = ".*".join(map(re.escape, message.split("*")))
    assert re.fullmatch(f"fastloss: error: {pattern}\n", error)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("option", ["--gradient", "--per-sample"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "exists and is not a regular file; expected the name of a file to write"),
        (os.mkdir, "exists and is not a regular file; expected the name of a file to write"),
        (lambda name: os.mkfifo("real") or os.symlink("real", name), "exists and is not a regular file; *"),
        (lambda name: os.symlink(name, name), "Too many levels of symbolic links"),
    ],
    ids=["pipe", "folder", "link to a pipe", "loop"],
)
def test_output_that_is_no_regular_file(cli, bad_files, option, make, message):
    make("o.npy")
    before = {name: os.lstat(name) for name in os.listdir()}
    status, output, error = cli(f"evaluate mse p.npy p.npy {option} o.npy")
    pattern = ".*".join(map(re.escape, message.split("*")))
    assert (status, output) == (2, "")
    assert re.fullmatch(f"fastloss: error: o.npy: {pattern}\n", error)
    assert {name: (os.lstat(name).st_ino, os.lstat(name).st_mode) for name in os.listdir()} == {
        name: (found.st_ino, found.st_mode) for name, found in before.items()
    }


@pytest.mark.parametrize("exists", [True, False])
def test_output_through_a_link(cli, bad_files, exists):
    os.mkdir("there")
    if exists:
        Path("there/g.npy").write_bytes(b"old")
    os.symlink("there/g.npy", "g.npy")
    status, _, _ = cli("evaluate mse p.npy p.npy --gradient g.npy")
    assert (status, os.readlink("g.npy"), os.listdir("there")) == (0, "there/g.npy", ["g.npy"])
    assert np.load("there/g.npy").shape == (200, CLASSES)


def test_output_named_like_a_folder(cli, bad_files):
    status, _, error = cli("evaluate mse p.npy p.npy --gradient new/")
    assert status == 2
    assert error == "fastloss: error: new/: expected the name of a file to write, got that of a folder\n"


@pytest.fixture
def heeds_signals():
    """As in a terminal; who runs the tests in the background may ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_signals")
@pytest.mark.parametrize("stage", ["update", "gradient"])
@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGINT), 128 + signal.SIGINT),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 128 + signal.SIGTERM),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_interrupted_run_leaves_nothing(cli, monkeypatch, stop, expected, stage):
    y_true, y_pred = np.random.default_rng(0).normal(size=(2, 100, 3))
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("g.npy", np.zeros(3))
    accumulator = fl.MeanSquaredError.accumulator
    seen = []

    class Stopped:
        """An accumulator that is interrupted in the method `stage`."""

        def __init__(self, loss):
            self.accumulator = accumulator(loss)

        def __getattr__(self, name):
            if name == stage:
                seen.extend(os.listdir())
                stop()
            return getattr(self.accumulator, name)

    monkeypatch.setattr(fl.MeanSquaredError, "accumulator", lambda loss: Stopped(loss))
    status, output, error = cli("evaluate mse y.npy p.npy --per-sample l.npy --gradient g.npy")
    assert (status, output, error) == (expected, "", "fastloss: interrupted\n")
    # The outputs had been begun, under other names; what stood there before is untouched.
    assert sum(name.endswith(".partial") for name in seen) == 2
    assert sorted(os.listdir()) == ["g.npy", "p.npy", "y.npy"]
    assert np.load("g.npy").shape == (3,)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["evaluate", "mse", "y.npy"], "Y_PRED"),
        (["evaluate", "mse", "y.npy", "p.npy", "--chunk-rows", "0"], "invalid positive value: '0'"),
        (["evaluate", "mse", "y.npy", "p.npy", "--param", "delta"], "expected name=value, got 'delta'"),
        (["demo", "--plot", "curve.svg"], "expected a name that ends with .png, got 'curve.svg'"),
    ],
)
def test_usage_errors(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_sequences(cli):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(1, 5, (300, 3)), rng.normal(size=(300, 8, 5)).astype(np.float32)
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", weight := np.arange(300) % 7 / 4)
    for rows in (1, 37, 1000):
        command = "evaluate ctc y.npy p.npy --json --sample-weight w.npy --per-sample l.npy --gradient g.npy"
        status, output, error = cli(f"{command} --chunk-rows {rows}")
        assert (status, error) == (0, "")
        value, gradient = fl.CTC().value_and_grad(y_true, y_pred, sample_weight=weight)
        assert value_of(output) == float(value)
        assert same_bits(np.load("l.npy"), fl.CTC(reduction=None)(y_true, y_pred, sample_weight=weight))
        assert same_bits(np.load("g.npy"), gradient)
    y_true[150, 1] = 0
    np.save("y.npy", y_true)
    status, _, error = cli("evaluate ctc y.npy p.npy --chunk-rows 37")
    assert status == 2
    assert f"y.npy: row 150, column 2 is {y_true[150, 2]}, expected 0: padding is at the end" in error


def test_batches_that_have_no_chunks(cli):
    np.save("y.npy", np.arange(6) % 2)
    np.save("p.npy", np.eye(6))
    status, output, error = cli("evaluate circle y.npy p.npy")
    assert (status, output) == (2, "")
    assert error.startswith("fastloss: error: Circle: the samples of a batch belong together")


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"fastloss {fl.__version__}\n"


def test_module_runs_info():
    result = subprocess.run(
        [sys.executable, "-m", "fastloss", "info"], capture_output=True, text=True, check=True
    )
    assert fl.__version__ in result.stdout
    assert result.stderr == ""


def test_demo(cli):
    status, output, error = cli("demo")
    assert (status, error) == (0, "")
    held_out = next(line for line in output.splitlines() if line.startswith("held out"))
    assert float(held_out.split()[-1].removesuffix("%")) > 95
    for name in INSTANCES:
        *_, value, difference, speed = next(
            line for line in output.splitlines() if line.startswith(name + " ")
        ).split()
        # The plain formula itself is good to about this, relative to losses of order 1 to 20.
        assert float(difference) <= 1e-12 * max(1.0, abs(float(value)))
        assert float(speed.removesuffix("x")) > 0


def test_demo_plot(cli):
    pytest.importorskip("matplotlib")
    status, _, _ = cli("demo --plot curve.png")
    assert status == 0
    assert os.listdir() == ["curve.png"]
    assert Path("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_demo_plot_without_matplotlib(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli("demo --plot curve.png") == (
        2,
        "",
        'fastloss: error: --plot needs matplotlib: pip install "fastloss[plot]"\n',
    )
    assert os.listdir() == []


def test_digits_are_small_and_whole():
    from fastloss.cli.demo import load_digits

    pixels, labels = load_digits()
    assert pixels.shape == (1797, 65)
    assert (pixels.min(), pixels.max()) == (0, 1)
    # Sums of the published data: a change of content would show.
    assert (pixels[:, :-1].sum() * 16, labels.sum()) == (561718, 8070)


@pytest.mark.parametrize("weight", ["", "--sample-weight w.npy"])
def test_a_row_that_is_larger_than_a_chunk(cli, monkeypatch, weight):
    """Is computed beside the thread that waits for signals; errors are those of any chunk."""
    monkeypatch.setattr("fastloss.cli.evaluate.CHUNK_BYTES", 1000)
    rowwise = [loss for loss in INSTANCES.values() if loss.target == "real" and loss.prediction == "real"]
    loss = next(loss for loss in rowwise if loss.accumulator().block_rows((2000,)) == 2000)
    y_true, y_pred = np.random.default_rng(0).normal(size=(2, 2000))
    np.save("y.npy", y_true)
    np.save("p.npy", y_pred)
    np.save("w.npy", np.array(0.5))
    command = f"evaluate {type(loss).__name__} y.npy p.npy --json --gradient g.npy {weight}"
    status, output, error = cli(command)
    value, gradient = loss.value_and_grad(y_true, y_pred, 0.5 if weight else None)
    assert (status, error, value_of(output)) == (0, "", value)
    assert same_bits(np.load("g.npy"), gradient)
    np.save("w.npy", np.array(np.nan))
    status, _, error = cli(command)
    assert (status, "w.npy: row 0 is nan" in error) == ((2, True) if weight else (0, False))
