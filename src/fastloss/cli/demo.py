# SPDX-License-Identifier: BSD-3-Clause
"""`fastloss demo`: a softmax regression on handwritten digits, then every native loss on its predictions."""

import argparse
import contextlib
import importlib.resources
import io
import statistics
import time

import numpy as np

import fastloss as fl

from .files import Output, UserError

HELD_OUT = 450
EPOCHS = 300
LEARNING_RATE = 1.0
MOMENTUM = 0.9
SECONDS_PER_LOSS = 0.1


def png(path):
    if not path.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"expected a name that ends with .png, got {path!r}")
    return path


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "demo",
        help="train on the digits that ship with fastloss, then compare every loss with NumPy",
        description="Train a softmax regression on the 1,797 handwritten digits that ship with fastloss, "
        "with NumPy and one fused value and gradient, then compare every native loss on its predictions with "
        "the plain NumPy formula.",
    )
    parser.add_argument(
        "--plot", metavar="FILE.png", type=png, help="draw the training curve (needs matplotlib)"
    )
    return parser


def run(arguments):
    with contextlib.ExitStack() as stack:
        if arguments.plot:
            # Before training: nobody should wait for a missing library or a misspelt folder.
            figure = new_figure()
            output = Output(arguments.plot, stack)
        pixels, labels = load_digits()
        logits, history = train(pixels, labels)
        print_scores(history, len(labels))
        if arguments.plot:
            draw(figure, history)
            png_bytes = io.BytesIO()
            figure.savefig(png_bytes, format="png")
            output.write(png_bytes.getvalue())
        compare(logits, labels)


def new_figure():
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('--plot needs matplotlib: pip install "fastloss[plot]"') from None
    return Figure(figsize=(9, 4), layout="constrained")


def load_digits():
    """Pixels from 0 to 1, a row an image, with a last column of ones for the bias; and labels. Shuffled."""
    with (
        importlib.resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file) as data,
    ):
        images, labels = data["images"], data["labels"]
    order = np.random.default_rng(0).permutation(len(labels))
    pixels = images.reshape(len(images), -1) / images.max()
    return np.column_stack([pixels, np.ones(len(pixels))])[order], labels[order]


def train(pixels, labels):
    """Gradient descent with momentum on all but the first HELD_OUT images.

    Returns the last logits of all images, and a row an epoch of train loss, train accuracy, held-out loss and
    held-out accuracy.
    """
    from tqdm import trange

    loss = next(
        loss for _, loss in fl.losses.native_instances() if (loss.target, loss.prediction) == ("label", "logits")
    )
    held, rest = slice(HELD_OUT), slice(HELD_OUT, None)
    weights = np.zeros((pixels.shape[1], 10))
    velocity = np.zeros_like(weights)
    gradient = np.empty((len(labels) - HELD_OUT, 10))
    history = []
    for _ in trange(EPOCHS, desc="training", unit="epoch", leave=False, disable=None):
        logits = pixels @ weights
        correct = logits.argmax(axis=-1) == labels
        value, gradient = loss.value_and_grad(labels[rest], logits[rest], out=gradient)
        history.append((value, correct[rest].mean(), loss(labels[held], logits[held]), correct[held].mean()))
        velocity = MOMENTUM * velocity - LEARNING_RATE * (pixels[rest].T @ gradient)
        weights += velocity
    return logits, np.array(history)


def print_scores(history, images):
    train_loss, train_accuracy, held_loss, held_accuracy = history[-1]
    print(f"{EPOCHS} epochs of softmax regression on handwritten digits, 8 x 8 pixels")
    print(f"{'':16}{'images':>8}{'loss':>10}{'accuracy':>10}")
    print(f"{'train':16}{images - HELD_OUT:8}{train_loss:10.4f}{train_accuracy:10.2%}")
    print(f"{'held out':16}{HELD_OUT:8}{held_loss:10.4f}{held_accuracy:10.2%}")


def draw(figure, history):
    for column, (name, axes) in enumerate(zip(("loss", "accuracy"), figure.subplots(1, 2), strict=True)):
        axes.plot(history[:, column], label="train")
        axes.plot(history[:, column + 2], label="held out")
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()


def compare(logits, labels):
    """One line for each native loss: value, distance from the plain formula, and how many times faster."""
    from tqdm import tqdm

    one_hot = np.eye(10)[labels]
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    # What the probabilities say of the digit as a number; a sure prediction has a variance of almost 0.
    mean = probabilities @ np.arange(10)
    variance = np.sum(probabilities * (np.arange(10) - mean[:, None]) ** 2, axis=-1) + 0.1
    targets = {
        "real": one_hot,
        "sign": 2 * one_hot - 1,
        "binary": one_hot,
        "count": one_hot,
        "positive": one_hot + 1,
        "distribution": 0.9 * one_hot + 0.01,
        "one_hot": one_hot,
        "label": labels,
        "scalar": labels.astype(np.float64),
    }
    predictions = {
        "positive": probabilities,
        "logit": logits,
        "probability": probabilities,
        "distribution": probabilities,
        "logits": logits,
        "location_scale": np.stack([mean, np.log(variance)], axis=-1),
    }

    lines = []
    losses = [(name, loss) for name, loss in fl.losses.native_instances() if loss.rowwise]
    for name, loss in tqdm(losses, desc="comparing", unit="loss", leave=False, disable=None):
        y_true = targets[loss.target]
        # A real prediction is an estimate of a real target, but a score for a sign.
        real = logits if loss.target == "sign" else probabilities
        y_pred = predictions.get(loss.prediction, real)
        difference = np.abs(loss.call(y_true, y_pred) - loss.numpy_formula(y_true, y_pred)).max()
        lines.append((name, loss(y_true, y_pred), difference, speed_ratio(loss, y_true, y_pred)))

    width = max(len(name) for name, *_ in lines)
    print()
    print(f"Every native loss of rows, on these predictions, {len(labels)} images x 10 classes, float64")
    print("difference: the largest of any sample from the plain NumPy formula")
    print("speed: time of that formula / time of fastloss, median of paired runs")
    print(f"{'':{width}}{'value':>12}{'difference':>12}{'speed':>10}")
    for name, value, difference, ratio in lines:
        print(f"{name:{width}}{value:12.6g}{difference:12.1e}{ratio:9.1f}x")


def speed_ratio(loss, y_true, y_pred):
    def seconds(function):
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    ratios = []
    end = time.perf_counter() + SECONDS_PER_LOSS
    while time.perf_counter() < end or not ratios:
        plain = seconds(lambda: np.mean(loss.numpy_formula(y_true, y_pred)))
        ratios.append(plain / seconds(lambda: loss(y_true, y_pred)))
    return statistics.median(ratios)
