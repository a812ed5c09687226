# SPDX-License-Identifier: BSD-3-Clause
"""The losses in 50-digit arithmetic, written from their formulas; nothing here knows how the kernels compute.

A reference takes the numbers exactly as the kernel gets them: inputs already rounded to the dtype, parameters as float64
(`epsilon` too, in both dtypes). An elementwise one takes a pair of numbers and returns (value, gradient, hessian); a rowwise
one takes two rows and returns (value, gradients, hessians), or without the last. Each result is an `Exact`.
"""

import itertools
from typing import Any, NamedTuple

import mpmath

mp = mpmath.MPContext()  # own context: the precision of mpmath.mp belongs to others
mp.dps = 50
mpf = mp.mpf

EPSILON = 1e-7


class Exact(NamedTuple):
    """A result and what a good implementation may lose in it.

    `scale`: what the relative error refers to. It is |value| unless the formula is a genuine difference, where the terms
    cancel whoever computes them; then it is the sum of the absolute terms.
    `condition`: derivative of the result by the relative error of the one difference of inputs that any float
    implementation has to round first (y_pred - y_true, logit - largest logit), times that difference.
    `margin`: relative distance of the input to the nearest jump of this output.
    """

    value: Any
    scale: Any
    condition: Any = mpf(0)
    margin: Any = mp.inf

    def times(self, factor):
        return Exact(self.value * factor, self.scale * abs(factor), self.condition * abs(factor), self.margin)


def plain(value, **other):
    """A result without cancellation."""
    return Exact(value, abs(value), **other)


def total(*terms, **other):
    """A sum whose terms may cancel."""
    return Exact(mp.fsum(terms), mp.fsum(terms, absolute=True), **other)


def add(results):
    """Sum of `Exact` results."""
    results = list(results)
    return Exact(
        mp.fsum(r.value for r in results),
        mp.fsum(r.scale for r in results),
        mp.fsum(r.condition for r in results),
        min((r.margin for r in results), default=mp.inf),
    )


# Regression


def mean_squared_error(y_true, y_pred):
    e = y_pred - y_true
    return plain(e * e), plain(2 * e), plain(mpf(2))


def mean_absolute_error(y_true, y_pred):
    e = y_pred - y_true
    return plain(abs(e)), plain(mp.sign(e)), plain(mpf(0))


def huber(y_true, y_pred, delta=1.0):
    e, delta = y_pred - y_true, mpf(delta)
    a = abs(e)
    inside = a <= delta
    return (
        plain(a * a / 2 if inside else delta * (a - delta / 2)),
        plain(max(-delta, min(delta, e))),
        plain(mpf(inside), margin=abs(a - delta) / a if a else mp.inf),
    )


def log_cosh(y_true, y_pred):
    e = y_pred - y_true
    a = abs(e)
    t = mp.exp(-2 * a)
    # cosh(e) - 1 = 2 sinh(e/2)^2 keeps all digits near 0, the other form avoids huge exponents far from it.
    value = mp.log1p(2 * mp.sinh(a / 2) ** 2) if a < 1 else a + mp.log1p(t) - mp.ln2
    tanh = -mp.expm1(-2 * a) / (1 + t)
    sech2 = 4 * t / (1 + t) ** 2
    return plain(value), plain(mp.sign(e) * tanh), plain(sech2, condition=2 * a * tanh * sech2)


def smooth_l1(y_true, y_pred, beta=1.0):
    e, beta = y_pred - y_true, mpf(beta)
    a = abs(e)
    inside = a < beta
    return (
        plain(a * a / (2 * beta) if inside else a - beta / 2),
        plain(e / beta if inside else mp.sign(e)),
        plain(1 / beta if inside else mpf(0), margin=abs(a - beta) / beta),
    )


def pseudo_huber(y_true, y_pred, delta=1.0):
    e, delta = y_pred - y_true, mpf(delta)
    s = mp.sqrt(1 + (e / delta) ** 2)
    # delta^2 (s - 1), without the difference
    return plain(e**2 / (1 + s)), plain(e / s), plain(1 / s**3)


def quantile(y_true, y_pred, quantile=0.5):
    e, q = y_true - y_pred, mpf(quantile)
    return plain(q * e if e >= 0 else (q - 1) * e), plain(-q if e > 0 else 1 - q if e < 0 else mpf(0)), plain(mpf(0))


def expectile(y_true, y_pred, expectile=0.5):
    e = y_true - y_pred
    w = abs(mpf(expectile) - (e < 0))
    return plain(w * e**2), plain(-2 * w * e), plain(2 * w)


def mean_absolute_percentage_error(y_true, y_pred, epsilon=EPSILON):
    e = y_true - y_pred
    scale = 100 / max(abs(y_true), mpf(epsilon))
    return plain(abs(e) * scale), plain(-mp.sign(e) * scale), plain(mpf(0))


def mean_squared_logarithmic_error(y_true, y_pred, epsilon=EPSILON):
    epsilon = mpf(epsilon)
    y, p = (max(x, epsilon) for x in (y_true, y_pred))
    log, s = mp.log((1 + p) / (1 + y)), 1 + p
    margin = abs(y_pred - epsilon) / epsilon
    # epsilon is no float32: where it replaces just one of the two, the difference carries its rounding.
    one_clipped = (y_true < epsilon) != (y_pred < epsilon)
    moved = epsilon / s if one_clipped else mpf(0)
    value = plain(log**2, condition=2 * abs(log) * moved)
    if y_pred < epsilon:
        return value, plain(mpf(0), margin=margin), plain(mpf(0), margin=margin)
    return (
        value,
        plain(2 * log / s, condition=2 * moved / s, margin=margin),
        # The logarithm is subtracted from 1.
        total(2 / s**2, -2 * log / s**2, margin=margin),
    )


# Margin


def hinge(y_true, y_pred):
    """`y_true` after the conversion of 0/1 labels, which depends on the whole call."""
    product = y_true * y_pred
    slack = 1 - product
    # With labels -1 and 1 the product is exact and nothing is lost; any other label makes it a difference of rounded terms.
    signs = abs(y_true) == 1
    scale = abs(slack) if signs else 1 + abs(product)
    margin = mp.inf if signs or not product else abs(slack / product)
    active = slack > 0
    return (
        Exact(slack, scale) if active else Exact(mpf(0), scale if margin < 1e-5 else mpf(0)),
        plain(-y_true if active else mpf(0), margin=margin),
        plain(mpf(0)),
    )


def squared_hinge(y_true, y_pred):
    """With the slack of the hinge, and what is known of it."""
    slack, slope, _ = hinge(y_true, y_pred)
    # (slack + error)^2 - slack^2; the error's own square counts where the slack is smaller than it.
    lost = slack.scale - slack.value
    return (
        Exact(slack.value**2, slack.value * (slack.value + 2 * lost) + mpf("1e-6") * lost**2),
        Exact(-2 * y_true * slack.value, 2 * abs(y_true) * slack.scale),
        plain(2 * y_true**2 if slope.value else mpf(0), margin=slope.margin),
    )


def exponential(y_true, y_pred):
    """`y_true` as in `hinge`."""
    value = mp.exp(-y_true * y_pred)
    return plain(value), plain(-y_true * value), plain(y_true**2 * value)


def categorical_hinge(y_true, y_pred):
    candidates = [(1 - y) * p for y, p in zip(y_true, y_pred, strict=True)]
    products = [y * p for y, p in zip(y_true, y_pred, strict=True)]
    largest = max(candidates)
    slack = total(largest, *(-x for x in products), mpf(1))
    near = abs(slack.value) / slack.scale
    # A runner-up that is almost the maximum takes a share of the gradient if it is one.
    gaps = [(largest - x) / max(abs(largest), abs(x)) for x in candidates if x != largest]
    margin = min([near, *gaps])
    active, ties = slack.value > 0, sum(x == largest for x in candidates)
    gradient = [
        total((1 - y) / ties if x == largest else mpf(0), -y, margin=margin) if active else plain(mpf(0), margin=near)
        for y, x in zip(y_true, candidates, strict=True)
    ]
    return (slack if active else Exact(mpf(0), slack.scale if near < 1e-5 else mpf(0))), gradient


# Similarity


def cosine_similarity(y_true, y_pred):
    y, p = y_true, y_pred
    y_norm, p_norm = (mp.sqrt(mp.fdot(x, x)) for x in (y, p))
    if not y_norm or not p_norm:
        return plain(mpf(0)), [plain(mpf(0))] * len(p)
    norms = y_norm * p_norm
    products = [a * b / norms for a, b in zip(y, p, strict=True)]
    cosine, scale = mp.fsum(products), mp.fsum(products, absolute=True)
    gradient = [
        Exact(cosine * p_k / p_norm**2 - y_k / norms, scale * abs(p_k) / p_norm**2 + abs(y_k) / norms)
        for y_k, p_k in zip(y, p, strict=True)
    ]
    return Exact(-cosine, scale), gradient


def tversky(y_true, y_pred, alpha=0.5, beta=0.5, epsilon=EPSILON):
    alpha, beta = mpf(alpha), mpf(beta)
    pairs = list(zip(y_true, y_pred, strict=True))
    common = mp.fsum(y * p for y, p in pairs)
    missed, false = mp.fsum((1 - p) * y for y, p in pairs), mp.fsum((1 - y) * p for y, p in pairs)
    whole = common + alpha * missed + beta * false + mpf(epsilon)
    # d(common / whole); written so that the terms of a hard label have one sign.
    gradient = [
        total(common * beta * (1 - y) / whole**2, -y * (whole - common * (1 - alpha)) / whole**2) for y in y_true
    ]
    return plain((whole - common) / whole), gradient


def dice(y_true, y_pred, epsilon=EPSILON):
    common = mp.fdot(y_true, y_pred)
    whole = mp.fsum(y_true) + mp.fsum(y_pred) + mpf(epsilon)
    gradient = [total(2 * common * (1 - y) / whole**2, -2 * y * (whole - common) / whole**2) for y in y_true]
    return plain((whole - 2 * common) / whole), gradient


# Counts and distributions


def poisson(y_true, y_pred, epsilon=EPSILON):
    q = y_pred + mpf(epsilon)
    return total(y_pred, -y_true * mp.log(q)), total(mpf(1), -y_true / q), plain(y_true / q**2)


def poisson_log_link(y_true, y_pred):
    rate = mp.exp(y_pred)
    return total(rate, -y_true * y_pred), total(rate, -y_true), plain(rate)


def gamma(y_true, y_pred):
    ratio = y_true * mp.exp(-y_pred)
    return total(y_pred, ratio), total(mpf(1), -ratio), plain(ratio)


def tweedie(y_true, y_pred, power=1.5):
    up, down = 2 - mpf(power), 1 - mpf(power)
    a, b = mp.exp(up * y_pred), y_true * mp.exp(down * y_pred)
    return plain(a / up - b / down), total(a, -b), plain(up * a - down * b)


def kl_divergence(y_true, y_pred, epsilon=EPSILON):
    epsilon = mpf(epsilon)
    y, p = (min(max(x, epsilon), mpf(1)) for x in (y_true, y_pred))
    inside = epsilon <= y_pred <= 1
    margin = abs(y_pred - epsilon) / epsilon
    value = y * mp.log(y / p)
    # epsilon is no float32: where it replaces just one of the two, the quotient carries its rounding into the logarithm.
    one_clipped = (y_true < epsilon) != (y_pred < epsilon)
    return (
        Exact(value, abs(value) + (y if one_clipped else 0)),
        plain(-y / p if inside else mpf(0), margin=margin),
        plain(y / p**2 if inside else mpf(0), margin=margin),
    )


def gaussian_nll(y_true, y_pred):
    mean, log_variance = y_pred
    e, precision = mean - y_true, mp.exp(-log_variance)
    half = e**2 * precision / 2
    return (
        total(log_variance / 2, half),
        [plain(e * precision), total(mpf(1) / 2, -half)],
        [plain(precision), plain(half)],
    )


# Binary cross-entropy


def smooth_binary(y_true, smoothing):
    """Smoothed y and 1 - y, each without cancellation."""
    s = mpf(smoothing)
    return y_true * (1 - s) + s / 2, (1 - y_true) * (1 - s) + s / 2


def binary_crossentropy_from_logits(y_true, y_pred, label_smoothing=0.0, pos_weight=1.0):
    z = y_pred
    y, not_y = smooth_binary(y_true, label_smoothing)
    hard = y in (0, 1)
    y *= mpf(pos_weight)
    t = mp.exp(-abs(z))
    small, large = t / (1 + t), 1 / (1 + t)
    sigmoid, not_sigmoid = (large, small) if z > 0 else (small, large)
    gradient = not_y * sigmoid - y * not_sigmoid
    return (
        total(not_y * z if z > 0 else -y * z, (y + not_y) * mp.log1p(t)),
        # The two terms of a soft label cancel; for a hard one there is one term.
        Exact(gradient, abs(gradient) if hard else (y + not_y) * sigmoid + y),
        plain((y + not_y) * small * large),
    )


def binary_crossentropy(y_true, y_pred, label_smoothing=0.0, epsilon=EPSILON, pos_weight=1.0):
    p, epsilon = y_pred, mpf(epsilon)
    y, not_y = smooth_binary(y_true, label_smoothing)
    y *= mpf(pos_weight)
    q = min(max(p, epsilon), 1 - epsilon)
    inside = epsilon <= p <= 1 - epsilon
    margin = min(abs(p - epsilon) / epsilon, abs(p - (1 - epsilon)))
    zero = plain(mpf(0), margin=margin)
    return (
        total(-y * mp.log(q), -not_y * mp.log(1 - q)),
        # Two terms of opposite sign for a soft label, one for a hard one.
        total(not_y / (1 - p), -y / p, margin=margin) if inside else zero,
        total(y / p**2, not_y / (1 - p) ** 2, margin=margin) if inside else zero,
    )


# Focal cross-entropy (Lin et al. 2017)


def raised(m, exponent, factor):
    """factor * m**exponent, which a factor of 0 makes 0."""
    if factor == 0:
        return mpf(0)
    return factor * (mp.inf if m == 0 and exponent < 0 else m**exponent)


def binary_focal(y, not_y, b, m, m1, m2, apply_class_balancing, alpha, gamma):
    """From the cross-entropy b and the probability m of the wrong answer, each with its derivatives."""
    alpha, g = mpf(alpha), mpf(gamma)
    w = y * alpha + not_y * (1 - alpha) if apply_class_balancing else mpf(1)
    first, second = raised(m, g - 1, g), raised(m, g - 2, g * (g - 1))
    power = raised(m, g, mpf(1))

    def times(x, y):
        return mpf(0) if x == 0 or y == 0 else x * y

    def derivative(terms, scales, margin):
        return Exact(w * mp.fsum(terms), w * mp.fsum(scales), margin=margin)

    value, gradient, hessian = b
    return (
        Exact(w * power * value.value, w * power * value.scale),
        derivative(
            [times(first, m1.value * value.value), power * gradient.value],
            [times(first, m1.scale * value.scale), power * gradient.scale],
            gradient.margin,
        ),
        derivative(
            [
                times(second, m1.value**2 * value.value),
                times(first, m2.value * value.value + 2 * m1.value * gradient.value),
                power * hessian.value,
            ],
            [
                times(abs(second), m1.scale**2 * value.scale),
                times(first, m2.scale * value.scale + 2 * m1.scale * gradient.scale),
                power * hessian.scale,
            ],
            hessian.margin,
        ),
    )


def binary_focal_crossentropy_from_logits(
    y_true, y_pred, apply_class_balancing=False, alpha=0.25, gamma=2.0, label_smoothing=0.0
):
    z = y_pred
    y, not_y = smooth_binary(y_true, label_smoothing)
    t = mp.exp(-abs(z))
    p, q = (1 / (1 + t), t / (1 + t)) if z > 0 else (t / (1 + t), 1 / (1 + t))
    b = binary_crossentropy_from_logits(y_true, z, label_smoothing)
    m1 = Exact((not_y - y) * p * q, p * q)
    m2 = Exact(m1.value * (q - p), p * q * abs(q - p))
    return binary_focal(y, not_y, b, y * q + not_y * p, m1, m2, apply_class_balancing, alpha, gamma)


def binary_focal_crossentropy(
    y_true, y_pred, apply_class_balancing=False, alpha=0.25, gamma=2.0, label_smoothing=0.0, epsilon=EPSILON
):
    y, not_y = smooth_binary(y_true, label_smoothing)
    b = binary_crossentropy(y_true, y_pred, label_smoothing, epsilon)
    p = min(max(y_pred, mpf(0)), mpf(1))
    inside = p == y_pred
    m1 = Exact((not_y - y) * inside, mpf(inside))
    return binary_focal(y, not_y, b, y * (1 - p) + not_y * p, m1, plain(mpf(0)), apply_class_balancing, alpha, gamma)


class Focal(NamedTuple):
    """-alpha (1 - exp(x))**gamma x, its derivatives, and the sum of the absolute terms of the second."""

    value: Any
    slope: Any
    curvature: Any
    curvature_scale: Any
    third: Any


def focal_of_log(x, alpha, gamma):
    alpha, g = mpf(alpha), mpf(gamma)
    if x == -mp.inf:
        return Focal(mp.inf, -alpha, mpf(0), mpf(0), mpf(0))
    m, q = -mp.expm1(x), mp.exp(x)
    if m == 0:
        return Focal(mpf(0), -alpha * (g == 0), mpf(0), mpf(0), mpf(0))
    # Derivatives of (1 - exp(x))**g, with the odds h = q/m, for which h' = h (1 + h).
    h = q / m
    power = m**g
    one = -g * h * power
    two = -g * h * (1 + h - g * h) * power
    three = -g * power * (h * (1 + h) * (1 + 2 * (1 - g) * h) - g * h**2 * (1 + (1 - g) * h))
    return Focal(
        -alpha * power * x,
        -alpha * (power + x * one),
        -alpha * (2 * one + x * two),
        alpha * g * h * power * (2 - g * h * x - x / m),
        -alpha * (3 * two + x * three),
    )


# Categorical cross-entropy


def others(row):
    """For each element the sum of all the others, without cancellation (all elements are >= 0)."""
    before, after = [mpf(0)], [mpf(0)]
    for x in row[:-1]:
        before.append(before[-1] + x)
    for x in reversed(row[1:]):
        after.append(after[-1] + x)
    return [b + a for b, a in zip(before, reversed(after), strict=True)]


def class_labels(y_true, smoothing, class_weight=None):
    """Dense labels, smoothed, then weighted by class."""
    s = mpf(smoothing)
    weights = [mpf(1)] * len(y_true) if class_weight is None else [mpf(w) for w in class_weight]
    return [w * (y * (1 - s) + s / len(y_true)) for w, y in zip(weights, y_true, strict=True)]


def categorical_crossentropy_from_logits(y_true, y_pred, label_smoothing=0.0, class_weight=None):
    y, z = class_labels(y_true, label_smoothing, class_weight), y_pred
    weight = mp.fsum(y)
    hard = sum(x != 0 for x in y) <= 1
    largest = max(z)
    # The gap to the largest logit is what has to be rounded. An excluded class (-inf) has none.
    gap = [largest - x if x != -mp.inf else mpf(0) for x in z]
    e = [mp.exp(x - largest) if x != -mp.inf else mpf(0) for x in z]
    norm = mp.fsum(e)
    p = [x / norm for x in e]
    not_p = others(p)
    mean_gap = mp.fdot(p, gap)
    # log(norm) = log1p(all but one largest element), so a sure prediction keeps its digits.
    log_norm = mp.log1p(others(e)[z.index(largest)])
    value = mp.fsum(y_j * (log_norm + (largest - z_j)) for y_j, z_j in zip(y, z, strict=True) if y_j)
    # How p_k, and the sum of the others weighted by p_k, move with the rounding of the gaps.
    moved = [x * (g + mean_gap) for x, g in zip(p, gap, strict=True)]
    other_moved = others(moved)
    gradient, hessian = [], []
    for y_k, p_k, q_k, m_k, o_k in zip(y, p, not_p, moved, other_moved, strict=True):
        if hard and y_k:
            gradient.append(plain(-y_k * q_k, condition=y_k * o_k))  # y (p - 1)
        else:
            # A soft label is subtracted from Y p_k: terms of one size that cancel.
            gradient.append(total(weight * p_k, -y_k, condition=weight * m_k))
        hessian.append(plain(weight * p_k * q_k, condition=weight * (m_k * q_k + p_k * o_k)))
    return plain(value, condition=weight * mean_gap), gradient, hessian


def categorical_crossentropy(y_true, y_pred, label_smoothing=0.0, epsilon=EPSILON, class_weight=None):
    y, p, epsilon = class_labels(y_true, label_smoothing, class_weight), y_pred, mpf(epsilon)
    low, high = mp.log(epsilon), mp.log1p(-epsilon)
    norm = mp.fsum(p)
    rest = others(p)
    q = [x / norm for x in p]
    logs = [min(max(mp.log(x), low), high) if x > 0 else low for x in q]
    inside = [epsilon <= x <= 1 - epsilon for x in q]
    # One class on the wrong side of a bound moves the gradients of the whole row.
    margin = min(
        (abs(x / bound - 1) for x, y_j in zip(q, y, strict=True) if y_j for bound in (epsilon, 1 - epsilon)), default=mp.inf
    )
    weight = mp.fsum(y_j for y_j, u in zip(y, inside, strict=True) if u)
    hard = sum(x != 0 for x in y) <= 1
    gradient, hessian = [], []
    for y_k, p_k, r_k, u in zip(y, p, rest, inside, strict=True):
        own = y_k if u else mpf(0)
        if hard and own:
            gradient.append(plain(-own * (r_k / norm) / p_k, margin=margin))  # -1/p + 1/S over one denominator
        else:
            gradient.append(total(-own / p_k if own else mpf(0), weight / norm, margin=margin))
        # A difference of two squares' reciprocals: its terms cancel as p_k / S approaches 1.
        hessian.append(total(own / p_k**2 if own else mpf(0), -weight / norm**2, margin=margin))
    return plain(-mp.fdot(y, logs)), gradient, hessian


def weighted_focal(y, x, alpha, gamma):
    """For each class its Focal, times the label."""
    zero = Focal(*[mpf(0)] * 5)
    pairs = zip(y, x, strict=True)
    return [Focal(*(y_j * f for f in focal_of_log(x_j, alpha, gamma))) if y_j else zero for y_j, x_j in pairs]


def all_but(terms, hard):
    """For each term the sum of the others and what its relative error refers to: all of them, unless just one is not 0."""
    whole, scale = mp.fsum(terms), mp.fsum(terms, absolute=True)
    if hard:
        return [(mpf(0), mpf(0)) if t else (whole, scale) for t in terms]
    return [(whole - t, scale) for t in terms]


def categorical_focal_crossentropy_from_logits(
    y_true, y_pred, alpha=0.25, gamma=2.0, label_smoothing=0.0, class_weight=None
):
    y, z = class_labels(y_true, label_smoothing, class_weight), y_pred
    hard = sum(x != 0 for x in y) <= 1
    largest = max(z)
    gap = [largest - x if x != -mp.inf else mpf(0) for x in z]
    e = [mp.exp(x - largest) if x != -mp.inf else mpf(0) for x in z]
    norm = mp.fsum(e)
    p = [x / norm for x in e]
    not_p = others(p)
    log_norm = mp.log1p(others(e)[z.index(largest)])
    f = weighted_focal(y, [(z_j - largest) - log_norm for z_j in z], alpha, gamma)
    # How log p, p and 1 - p move with the rounding of the gaps.
    mean_gap = mp.fdot(p, gap)
    moved = [g + mean_gap for g in gap]
    p_moved = [p_k * d for p_k, d in zip(p, moved, strict=True)]
    not_p_moved = others(p_moved)
    slope = mp.fsum(t.slope for t in f)
    slope_moved = mp.fsum(abs(t.curvature) * d for t, d in zip(f, moved, strict=True))
    rest_slope, rest_curvature = (all_but([getattr(t, name) for t in f], hard) for name in ("slope", "curvature"))
    rest_scale = all_but([t.curvature_scale for t in f], hard)
    rest_third = mp.fsum(abs(t.third) * d for t, d in zip(f, moved, strict=True))
    curvature = mp.fsum((t.curvature for t in f), absolute=True)
    gradient, hessian = [], []
    for k, t in enumerate(f):
        p_k, q_k = p[k], not_p[k]
        gradient.append(
            Exact(
                t.slope * q_k - p_k * rest_slope[k][0],
                abs(t.slope) * q_k + p_k * rest_slope[k][1],
                condition=abs(t.curvature) * moved[k] * q_k
                + abs(t.slope) * not_p_moved[k]
                + p_moved[k] * rest_slope[k][1]
                + p_k * (slope_moved if not (hard and t.slope) else 0),
            )
        )
        hessian.append(
            Exact(
                t.curvature * q_k**2 + rest_curvature[k][0] * p_k**2 - slope * p_k * q_k,
                t.curvature_scale * q_k**2 + rest_scale[k][1] * p_k**2 + abs(slope) * p_k * q_k,
                condition=(abs(t.third) * moved[k] * q_k + 2 * abs(t.curvature) * not_p_moved[k]) * q_k
                + ((rest_third * p_k + 2 * curvature * p_moved[k]) * p_k if not (hard and t.slope) else 0)
                + slope_moved * p_k * q_k
                + abs(slope) * (p_moved[k] * q_k + p_k * not_p_moved[k]),
            )
        )
    value = mp.fsum(t.value for t in f)
    return plain(value, condition=mp.fsum(abs(t.slope) * d for t, d in zip(f, moved, strict=True))), gradient, hessian


def categorical_focal_crossentropy(
    y_true, y_pred, alpha=0.25, gamma=2.0, label_smoothing=0.0, epsilon=EPSILON, class_weight=None
):
    y, p, epsilon = class_labels(y_true, label_smoothing, class_weight), y_pred, mpf(epsilon)
    low, high = mp.log(epsilon), mp.log1p(-epsilon)
    norm = mp.fsum(p)
    rest = others(p)
    q = [x / norm for x in p]
    logs = [min(max(mp.log(x), low), high) if x > 0 else low for x in q]
    inside = [epsilon <= x <= 1 - epsilon for x in q]
    margin = min(
        (abs(x / bound - 1) for x, y_j in zip(q, y, strict=True) if y_j for bound in (epsilon, 1 - epsilon)), default=mp.inf
    )
    hard = sum(x != 0 for x in y) <= 1
    f = weighted_focal(y, logs, alpha, gamma)
    live = [t if u else Focal(*[mpf(0)] * 5) for t, u in zip(f, inside, strict=True)]
    names = ("slope", "curvature", "curvature_scale")
    rest_slope, rest_curvature, rest_scale = (all_but([getattr(t, name) for t in live], hard) for name in names)
    gradient, hessian = [], []
    for k, t in enumerate(live):
        a = rest[k] / p[k] if t.slope else mpf(0)
        terms = t.slope * a / norm, -rest_slope[k][0] / norm
        scale = abs(terms[0]) + rest_slope[k][1] / norm
        gradient.append(Exact(mp.fsum(terms), scale, margin=margin))
        terms = t.curvature * a**2, -t.slope * a * (a + 2), rest_curvature[k][0], rest_slope[k][0]
        scale = t.curvature_scale * a**2 + abs(terms[1]) + rest_scale[k][1] + rest_slope[k][1]
        hessian.append(Exact(mp.fsum(terms) / norm**2, scale / norm**2, margin=margin))
    return plain(mp.fsum(t.value for t in f)), gradient, hessian


def one_hot(label, classes):
    return [mpf(k == label) for k in range(classes)]


def ignored(classes):
    return plain(mpf(0)), [plain(mpf(0))] * classes, [plain(mpf(0))] * classes


def sparse_categorical_crossentropy_from_logits(y_true, y_pred, ignore_class=None, **options):
    if y_true == ignore_class:
        return ignored(len(y_pred))
    return categorical_crossentropy_from_logits(one_hot(y_true, len(y_pred)), y_pred, **options)


def sparse_categorical_crossentropy(y_true, y_pred, ignore_class=None, **options):
    if y_true == ignore_class:
        return ignored(len(y_pred))
    return categorical_crossentropy(one_hot(y_true, len(y_pred)), y_pred, **options)


def sparse_categorical_focal_crossentropy_from_logits(y_true, y_pred, ignore_class=None, **options):
    if y_true == ignore_class:
        return ignored(len(y_pred))
    return categorical_focal_crossentropy_from_logits(one_hot(y_true, len(y_pred)), y_pred, **options)


def sparse_categorical_focal_crossentropy(y_true, y_pred, ignore_class=None, **options):
    if y_true == ignore_class:
        return ignored(len(y_pred))
    return categorical_focal_crossentropy(one_hot(y_true, len(y_pred)), y_pred, **options)


def categorical_generalized_cross_entropy(y_true, y_pred, q=0.5):
    p, q = y_pred[y_true], mpf(q)
    value = -mp.expm1(q * mp.log(p)) / q if p else 1 / q
    slope = -(p ** (q - 1)) if p else -mp.inf
    curvature = (1 - q) * p ** (q - 2) if p else mp.inf
    gradient, hessian = ([plain(x if k == y_true else mpf(0)) for k in range(len(y_pred))] for x in (slope, curvature))
    return plain(value), gradient, hessian


# Alignments


def log_softmax(row):
    largest = max(row)
    norm = mp.fsum(mp.exp(x - largest) for x in row)
    return [x - largest - mp.log(norm) for x in row]


def collapse(path):
    """Runs of one class become one, then the blanks go."""
    return [k for k, before in zip(path, (None, *path[:-1]), strict=True) if k and k != before]


def enumerated_alignments(labels, p):
    """Probability of the labels, and of those alignments that have class k at step t: by all alignments."""
    total, occupied = mpf(0), [[mpf(0)] * len(step) for step in p]
    for path in itertools.product(*(range(len(step)) for step in p)):
        if collapse(path) == labels:
            probability = mp.fprod(step[k] for step, k in zip(p, path, strict=True))
            total += probability
            for t, k in enumerate(path):
                occupied[t][k] += probability
    return total, occupied


def recursive_alignments(labels, p):
    """The same by the forward-backward recursion (Graves et al. 2006, equations 6 to 15)."""
    states = [0, *(k for label in labels for k in (label, 0))]

    def passes(states, p):
        """Probability of all beginnings that are in a state at a step."""
        rows, row = [], [mpf(1)] + [mpf(0)] * (len(states) - 1)
        for step in p:
            before = row
            row = []
            for s, k in enumerate(states):
                sources = before[max(s - 1, 0) : s + 1]
                if s > 1 and k not in (0, states[s - 2]):
                    sources = [before[s - 2], *sources]
                row.append(mp.fsum(sources) * step[k])
            rows.append(row)
        return rows

    alpha = passes(states, p)
    beta = [row[::-1] for row in passes(states[::-1], p[::-1])[::-1]]
    occupied = [[mpf(0)] * len(step) for step in p]
    for t, step in enumerate(p):
        for s, k in enumerate(states):
            if step[k]:
                occupied[t][k] += alpha[t][s] * beta[t][s] / step[k]
    return mp.fsum(alpha[-1][-2:]) if p else mpf(not labels), occupied


def ctc(y_true, y_pred):
    """One sample: integers, and a list of logits a step -> (value, gradients)."""
    labels = [k for k in y_true if k]
    with mp.workdps(400):  # 1 - P may be exp(-700)
        cost = [[-x for x in log_softmax(step)] for step in y_pred]
        p = [[mp.exp(-x) for x in step] for step in cost]
        tiny = len(p) and len(p[0]) ** len(p) <= 300
        total_p, occupied = (enumerated_alignments if tiny else recursive_alignments)(labels, p)
        if total_p == 0:
            return Exact(mp.inf, mp.inf), [[plain(mpf(0)) for _ in step] for step in p]
        value = -mp.log(total_p)
        posterior = [[x / total_p for x in step] for step in occupied]
        mean_cost = mp.fsum(q * c for qs, cs in zip(posterior, cost, strict=True) for q, c in zip(qs, cs, strict=True) if q)
        # -log P is the mean cost of an alignment less the entropy of the alignments: these two may cancel.
        result = Exact(value, mean_cost + abs(mean_cost - value))
        # A posterior is taken from logarithms of the size of what its alignments cost.
        gradients = [
            [total(p_k, -q, condition=4 * q * (mean_cost - mp.log(q or 1))) for p_k, q in zip(p_t, q_t, strict=True)]
            for p_t, q_t in zip(p, posterior, strict=True)
        ]
    return result, gradients


# Pairs


def circle(y_true, y_pred, weight, ref_labels=None, ref_embeddings=None, gamma=80.0, margin=0.4, remove_diagonal=True):
    """A batch -> (values, gradients of the sum of weight * value); the condition is what dot products lose."""
    gamma, margin = mpf(gamma), mpf(margin)
    symmetric = ref_labels is None
    others, labels = (y_pred, y_true) if symmetric else (ref_embeddings, ref_labels)
    n, m, width = len(y_pred), len(others), len(y_pred[0]) if y_pred else 0
    values, coefficient = [], [[(mpf(0), mpf(0))] * m for _ in range(n)]
    for i in range(n):
        sides = {True: [], False: []}
        for j in range(m):
            if remove_diagonal and i == j:
                continue
            products = [a * b for a, b in zip(y_pred[i], others[j], strict=True)]
            s = mp.fsum(products)
            d = max(1 - s, mpf(0))
            # Rounding of s, and of 1 - s.
            lost = 1 + width * mp.fsum(products, absolute=True)
            same = y_true[i] == labels[j]
            if same:
                exponent, slope = gamma * max(margin + d, 0) * (d - margin), -gamma * 2 * d
            else:
                exponent = gamma * max(1 + margin - d, 0) * (1 - margin - d)
                slope = gamma * 2 * (1 - d) if 1 + margin - d > 0 else mpf(0)
            if s > 1:
                slope = mpf(0)
            sides[same].append((j, exponent, slope, abs(slope) * lost + abs(exponent), 2 * gamma * lost))
        if not (sides[True] and sides[False]):
            values.append(plain(mpf(0)))
            continue
        sums, moved = {}, {}
        for same, pairs in sides.items():
            largest = max(e for _, e, *_ in pairs)
            sums[same] = largest + mp.log(mp.fsum(mp.exp(e - largest) for _, e, *_ in pairs))
            moved[same] = mp.fsum(mp.exp(e - sums[same]) * move for _, e, _, move, _ in pairs) + abs(sums[same])
        x, x_moved = sums[True] + sums[False], moved[True] + moved[False]
        t = mp.exp(-abs(x))
        sigmoid, rest = (1 / (1 + t), t / (1 + t)) if x > 0 else (t / (1 + t), 1 / (1 + t))
        values.append(plain(max(x, mpf(0)) + mp.log1p(t), condition=sigmoid * x_moved))
        for same, pairs in sides.items():
            for j, e, slope, move, slope_moved in pairs:
                share = weight[i] * sigmoid * mp.exp(e - sums[same])
                relative = move + moved[same] + rest * x_moved
                coefficient[i][j] = share * slope, abs(share) * (slope_moved + abs(slope) * relative)
    gradients = [[] for _ in range(n)]
    for i in range(n):
        for k in range(width):
            terms = [(c * r[k], lost * abs(r[k])) for (c, lost), r in zip(coefficient[i], others, strict=True)]
            if symmetric:
                terms += [(coefficient[j][i][0] * y_pred[j][k], coefficient[j][i][1] * abs(y_pred[j][k])) for j in range(n)]
            gradients[i].append(total(*(a for a, _ in terms), condition=mp.fsum(b for _, b in terms)))
    return values, gradients
