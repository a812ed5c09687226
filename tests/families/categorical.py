# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the probabilities of classes."""

import numpy as np

import reference
from families.probabilistic import FOCAL
from table import (
    CLASSES,
    FINITE,
    INF,
    NAN,
    Bad,
    LossCase,
    Sample,
    Special,
    around,
    as_is,
    confident,
    draw_classes,
    extremes,
    magnitudes,
    softmax,
)


def logit_rows(rng, dtype, classes, rows):
    """[(strict, label, logits)]"""
    out = []

    def row(z, label=None, strict=False):
        out.append((strict, int(rng.integers(classes) if label is None else label), np.asarray(z).astype(dtype)))

    def integers():
        return rng.integers(-3, 1, classes).astype(float)

    row(rng.normal(0, 3, classes))
    z = rng.normal(0, 30, classes)
    row(z, np.argmax(z))
    for lead in confident(dtype):
        z, label = integers(), rng.integers(classes)
        z[label] = lead
        row(z, label, strict=True)
    z = magnitudes(rng, classes)  # 1e-30 next to 1e30
    row(z, np.argmax(z))
    row(z)
    row(np.full(classes, 0.75), strict=True)
    row(integers(), strict=True)  # many equal ones, also the largest
    z = rng.normal(0, 1, classes)
    z[rng.integers(classes, size=2)] = 4.0  # the largest twice
    row(z)
    row(rng.choice([-1e30, 1e30], classes))
    row(magnitudes(rng, classes, 1e-30, 1e-20))
    row(1e4 + integers(), strict=True)
    row(-1e4 + integers(), strict=True)
    z = rng.normal(0, 3, classes)
    z[rng.random(classes) < 0.3] = -INF  # excluded classes, never the true one
    label = rng.integers(classes)
    z[label] = 0.5
    row(z, label)
    row(np.zeros(classes), strict=True)
    row(rng.choice(extremes(dtype), classes) / 2)  # a difference of logits has to be a number
    row(rng.uniform(-90, 90, classes))
    while len(out) < rows:
        row(rng.normal(0, 3, classes))
    if rows < len(out):  # large rows are dear: the regimes take turns
        out = [out[i] for i in rng.choice(len(out), rows, replace=False)]
    return out


def probability_rows(rng, dtype, classes, rows):
    """[(strict, label, probabilities)]: normalised and not, sure and unsure, tiny and huge, with zeros."""
    out = []

    def row(p, label=None):
        out.append((False, int(rng.integers(classes) if label is None else label), np.asarray(p).astype(dtype)))

    def sure(rest):
        """The label has all but `rest`."""
        label = rng.integers(classes)
        p = rng.random(classes) * rest / classes
        p[label] = 1 - rest
        return p, label

    row(softmax(rng.normal(0, 1, classes)))
    row(softmax(rng.normal(0, 5, classes)))
    for rest in (1e-1, 1e-3, 1e-5, 1e-9, 1e-30):
        row(*sure(rest))
    row(sure(1e-4)[0])
    row(one := np.eye(classes)[rng.integers(classes)], np.argmax(one))
    row(one)
    row(rng.random(classes) * 1e30)
    row(rng.random(classes) * 1e-30)
    row(magnitudes(rng, classes, signed=False))
    row(magnitudes(rng, classes, 1e-9, 1.0, signed=False))
    p = rng.random(classes)
    p[rng.random(classes) < 0.3] = 0
    p[rng.integers(classes)] = 0.25
    row(p)
    row(np.full(classes, 0.5))
    while len(out) < rows:
        row(rng.dirichlet(np.full(classes, 0.5)))
    if rows < len(out):
        out = [out[i] for i in rng.choice(len(out), rows, replace=False)]
    return out


def categorical_samples(make_rows, sparse):
    def samples(rng, dtype):
        out = []
        for classes, rows in CLASSES.items():
            made = make_rows(rng, dtype, classes, rows)
            for strict in (False, True):
                chosen = [(label, x) for s, label, x in made if s == strict]
                if not chosen:
                    continue
                labels = np.array([label for label, _ in chosen])
                x = np.stack([x for _, x in chosen])
                if sparse:
                    out.append(Sample(labels, x, strict))
                    continue
                y = np.eye(classes)[labels]
                if not strict:
                    # Every third row soft, no weight on an excluded class; one row without any label.
                    soft = np.where(np.isfinite(x), rng.random(x.shape), 0)
                    y[::3] = (soft / soft.sum(axis=-1, keepdims=True))[::3]
                    y[-1] = 0 if len(y) > 4 else y[-1]
                out.append(Sample(y.astype(dtype), x, strict))
        return out

    return samples


def without_excluded(make_rows):
    """For smoothed labels, which put weight on every class: an excluded one then costs inf, see the specials."""

    def rows(rng, dtype, classes, count):
        return [(s, label, np.nan_to_num(x, neginf=-3.0)) for s, label, x in make_rows(rng, dtype, classes, count)]

    return rows


def without_overflow(make_rows):
    """For losses that multiply the logarithm, which may overflow, by less than 1."""

    def rows(rng, dtype, classes, count):
        made = make_rows(rng, dtype, classes, count)
        return [(s, label, np.where(np.abs(x) > np.finfo(dtype).max / 4, x / 4, x)) for s, label, x in made]

    return rows


def class_specials(rows, sparse):
    """`rows`: (label, y_pred, value, gradient, hessian); dense cases get the label one-hot."""
    return tuple(Special(label if sparse else np.eye(len(p))[label], p, *outputs) for label, p, *outputs in rows)


LOGIT_SPECIALS = (
    (0, (NAN, 0.0, 0.0), NAN, (NAN,) * 3, (NAN,) * 3),
    (1, (0.0, 1.0, NAN), NAN, (NAN,) * 3, (NAN,) * 3),
    (
        1,
        (-INF, 0.0, 0.0),
        0.6931471805599453,
        (0.0, -0.5, 0.5),
        (0.0, 0.25, 0.25),
    ),
    (1, (-INF, 0.0, -INF), 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    (1, (0.0, -INF, 0.0), INF, (0.5, -1.0, 0.5), (0.25, 0.0, 0.25)),
    (1, (-INF, -INF, -INF), NAN, (NAN,) * 3, (NAN,) * 3),
    (0, (INF, 0.0, 0.0), NAN, None, None),
    (1, (INF, 0.0, 0.0), NAN, None, None),
    (0, (INF, INF, -INF), NAN, None, None),
    (0, (-INF,), NAN, (NAN,), (NAN,)),
    (1, (3e38, -3e38, 0.0), None, (1.0, -1.0, 0.0), (0.0, 0.0, 0.0)),
    (2, (0.0, NAN) + (0.0,) * 2500, NAN, None, None),
    (2, (0.0, 0.0, -INF) + (0.0,) * 2500, INF, None, None),
)

# alpha 0.25 and gamma 2
FOCAL_LOGIT_SPECIALS = (
    (0, (NAN, 0.0, 0.0), NAN, (NAN,) * 3, (NAN,) * 3),
    (1, (0.0, 1.0, NAN), NAN, (NAN,) * 3, (NAN,) * 3),
    (
        1,
        (-INF, 0.0, 0.0),
        0.04332169878499658,
        (0.0, -0.07457169878499659, 0.07457169878499659),
        (0.0, 0.0997858493924983, 0.0997858493924983),
    ),
    (1, (-INF, 0.0, -INF), 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    (1, (0.0, -INF, 0.0), INF, (0.125, -0.25, 0.125), (0.0625, 0.0, 0.0625)),
    (1, (-INF, -INF, -INF), NAN, (NAN,) * 3, (NAN,) * 3),
    (0, (INF, 0.0, 0.0), NAN, None, None),
    (1, (INF, 0.0, 0.0), NAN, None, None),
    (1, (1000.0, 0.0, 0.0), 250.0, (0.25, -0.25, 0.0), (0.0, 0.0, 0.0)),
    (1, (3e38, -3e38, 0.0), None, (0.25, -0.25, 0.0), (0.0, 0.0, 0.0)),
    (2, (0.0, NAN) + (0.0,) * 2500, NAN, None, None),
    (2, (0.0, 0.0, -INF) + (0.0,) * 2500, INF, None, None),
)

PROBABILITY_SPECIALS = (
    (0, (NAN, 0.5, 0.5), NAN, (NAN,) * 3, None),
    (1, (0.0, 1.0, NAN), NAN, (NAN,) * 3, None),
    (1, (0.0, 0.0, 0.0), NAN, None, None),  # nothing to normalise: 0/0
    (2, (0.5, NAN) + (0.5,) * 2500, NAN, None, None),
)


POWER = "the power multiplies the error of 1 - p by gamma (by gamma + 1 in derivatives; the tests go up to gamma = 5)"

# (bounds that are not those promised, and why), by (from_logits, focal)
BOUNDS = {
    (False, False): ({"gradient": 6, "hessian": 8}, "quotients, twice in the Hessian, by a sum that is rounded itself"),
    (True, False): ({"hessian": 8}, "a product of two probabilities, each a quotient of sums of exponentials; float64 only"),
    (False, True): (dict.fromkeys(("value", "gradient", "hessian"), 12), POWER),
    (True, True): (dict.fromkeys(("value", "gradient", "hessian"), 20), POWER),
}

# By from_logits
CANCELS = {
    False: "classes of a soft label pull in both directions; in the Hessian of a focal loss curvature and slope do",
    True: "a logit less the largest one is rounded first; classes of a soft label pull in both directions; in the Hessian "
    "of a focal loss curvature and slope do",
}


def categorical_case(sparse, from_logits, focal=False):
    """The cases share rows, specials and bad arguments."""
    name = ("sparse_" if sparse else "") + ("categorical_focal_crossentropy" if focal else "categorical_crossentropy")
    make_rows = logit_rows if from_logits else probability_rows
    special_rows = LOGIT_SPECIALS if from_logits else PROBABILITY_SPECIALS
    kernel = name + ("_from_logits" if from_logits else "")
    bad = (Bad("axis", 1.5), Bad("axis", "x"), Bad("ignore_class", "x"), Bad("class_weight", [1.0, -1.0, 1.0]))
    bad += (Bad("label_smoothing", NAN), Bad("label_smoothing", -0.1), Bad("label_smoothing", "x"))
    if not from_logits:
        bad += (Bad("epsilon", 0.0), Bad("epsilon", -1e-7), Bad("epsilon", NAN), Bad("epsilon", "x"))
    parameters = ({}, {"ignore_class": 0}) if sparse else ({}, {"label_smoothing": 0.25})
    if focal:
        bad += FOCAL
        parameters += ({"gamma": 0.5, "alpha": 0.75}, {"gamma": 5.0}) if sparse else ({"gamma": 0.0},)
        special_rows = FOCAL_LOGIT_SPECIALS if from_logits else PROBABILITY_SPECIALS
    if not sparse and from_logits:
        make_rows = without_excluded(make_rows)  # the sparse case has the excluded classes, on the same rows
    if focal:
        make_rows = without_overflow(make_rows)
    ulps, because = BOUNDS.get((from_logits, focal), ({}, "")) if focal or not sparse else ({}, "")
    return LossCase(
        name=kernel,
        loss="".join(word.capitalize() for word in name.split("_")),
        handle=name,
        reference=getattr(reference, kernel),
        samples=categorical_samples(make_rows, sparse),
        draw=draw_classes(as_is if from_logits else softmax, sparse),
        fixed={"from_logits": from_logits},
        parameters=parameters,
        row="class",
        sparse=sparse,
        soft_labels=not sparse,
        true_bounds=(-INF if sparse else 0.0, INF),
        pred_bounds=(-INF, INF) if from_logits else (0.0, FINITE),
        blur=0.75,  # p / sum(p) is a quotient of two rounded numbers
        ulps=ulps,
        because=because,
        cancels=CANCELS[from_logits] if not sparse or focal or from_logits else "",
        specials=class_specials(special_rows, sparse),
        bad=bad,
    )


def true_probability_samples(rng, dtype):
    """The label's probability over all magnitudes, beside others that do not count."""
    p = np.concatenate(
        [rng.random(60), magnitudes(rng, 60, signed=False), extremes(dtype, signed=False), around(1.0, dtype, range(-5, 6))]
    )
    p = p[p <= 1]
    out = []
    for classes in (1, 2, 7, 33, 2500):
        some = p if classes < 100 else p[:9]
        label = rng.integers(classes, size=some.size)
        y_pred = rng.random((some.size, classes))
        y_pred[np.arange(some.size), label] = some
        out.append(Sample(label, y_pred.astype(dtype)))
    return out


CASES = tuple(
    categorical_case(sparse, from_logits, focal)
    for focal in (False, True)
    for sparse in (False, True)
    for from_logits in (False, True)
)

CASES += (
    LossCase(
        name="categorical_generalized_cross_entropy",
        loss="CategoricalGeneralizedCrossEntropy",
        handle="categorical_generalized_cross_entropy",
        reference=reference.categorical_generalized_cross_entropy,
        samples=true_probability_samples,
        draw=draw_classes(softmax, sparse=True),
        fixed={"q": 0.5},
        parameters=({}, {"q": 0.7}, {"q": 1e-6}, {"q": 1e-9}, {"q": 1 - 2.0**-20}),
        row="class",
        sparse=True,
        specials=(
            Special(0, (NAN, 0.5), NAN, (NAN, 0.0), (NAN, 0.0)),
            Special(0, (0.25, NAN), 1.0, (-2.0, 0.0), (4.0, 0.0)),  # what is not the label's does not count
            Special(1, (0.5, 0.0), 2.0, (0.0, -INF), (0.0, INF)),
        ),
        pred_bounds=(0.0, 1.0),
        bad=tuple(Bad("q", q) for q in (0.0, 1.0, -0.5, 2.0, NAN, "x", None)),
    ),
)
