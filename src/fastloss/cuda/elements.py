# SPDX-License-Identifier: BSD-3-Clause
"""The element functions of csrc/losses, as Python that Numba compiles for the device.

`real` is the kernel's float type. Constants go through it: a bare 0.5 is a float64 and would drag a float32
kernel along. Numba compiles each function by itself, so that one cannot call another.

min and max lose a NaN on the device, hence the comparisons; they are ordered to keep the NaN. Without an
argument at which Python's math raises, the functions run in Numba's simulator too.
"""

import math

ELEMENTS = {}

# Losses of a row that do not depend on the sizes of y_true and y_pred: those of float64 are scaled, lest sums overflow.
SCALE_FREE = set()

# Of a loss of sums over a row: the functions NAME_row and NAME_derivative beside the element NAME.
ROW_FUNCTIONS = {}


def element(function):
    """Adds `function` to ELEMENTS: the element of that name in csrc/losses.def."""
    ELEMENTS[function.__name__] = function
    return function


def scale_free(function):
    """Adds the name of `function` to SCALE_FREE."""
    SCALE_FREE.add(function.__name__)
    return function


def row_function(function):
    """Adds `function` to ROW_FUNCTIONS, without the underscore of its name."""
    ROW_FUNCTIONS[function.__name__[1:]] = function
    return function


# Losses of the residual: (real, y_true, y_pred, *parameters) -> (value, gradient, hessian), here and below


@element
def mean_squared_error(real, y_true, y_pred):
    e = y_pred - y_true
    return e * e, e + e, e if e != e else real(2)


@element
def mean_absolute_error(real, y_true, y_pred):
    e = y_pred - y_true
    sign = real(0) if e == real(0) else math.copysign(real(1), e)
    return abs(e), e if e != e else sign, e if e != e else real(0)


@element
def huber(real, y_true, y_pred, delta):
    e = y_pred - y_true
    a = abs(e)
    q = delta if delta < a else a
    # Both branches of the value; nothing cancels since a >= q.
    value = q * (a - real(0.5) * q)
    inside = real(1) if a <= delta else real(0)
    return value, math.copysign(q, e), e if e != e else inside


@element
def log_cosh(real, y_true, y_pred):
    e = y_pred - y_true
    a = abs(e)
    t = math.exp(-a)
    u = math.expm1(-a)
    square = t * t
    # log1p(2 sinh(a/2)^2) near 0, a - log(2) + log1p(exp(-2 a)) from 1 on: neither cancels.
    log1p = math.log1p(u * u / (real(2) * t) if a < real(1) else square)
    value = log1p if a < real(1) else a - real(0.6931471805599453) + log1p
    sech = real(2) * t / (real(1) + square)
    return value, math.copysign(-u * (real(2) + u) / (real(1) + square), e), sech * sech


@element
def smooth_l1(real, y_true, y_pred, beta):
    e = y_pred - y_true
    a = abs(e)
    q = beta if beta < a else a
    # Both branches of the value; nothing cancels since a >= q.
    slope = q / beta
    value = slope * (a - real(0.5) * q)
    inside = real(1) / beta if a < beta else real(0)
    return value, math.copysign(slope, e), e if e != e else inside


@element
def pseudo_huber(real, y_true, y_pred, delta):
    e = y_pred - y_true
    a = abs(e)
    least = delta if delta < a else a
    # The square of a ratio of at most 1 does not overflow; the root less 1 is written without the difference.
    t = least / (a if delta < a else delta)
    t = a if a != a else t
    square = real(1) + t * t
    w = math.sqrt(square)
    k = t if a > delta else real(1)
    return a * (least / (k + w)), math.copysign(least / w, e), k * k * k / (square * w)


@element
def quantile(real, y_true, y_pred, quantile, complement):
    e = y_pred - y_true
    weight = complement if e > real(0) else quantile
    slope = real(0) if e == real(0) else math.copysign(weight, e)
    return abs(e) * weight, e if e != e else slope, e if e != e else real(0)


@element
def expectile(real, y_true, y_pred, expectile, complement):
    e = y_pred - y_true
    weight = complement if e > real(0) else expectile
    half = weight * e
    return half * e, half + half, e if e != e else weight + weight


@element
def mean_absolute_percentage_error(real, y_true, y_pred, epsilon):
    e = y_pred - y_true
    size = abs(y_true)
    size = epsilon if size < epsilon else size
    slope = real(0) if e == real(0) else math.copysign(real(100) / size, e)
    # An infinite y_true is off by 100 % from any finite y_pred.
    value = real(100) + real(0) * y_pred if size == real(math.inf) else e * slope
    return value, e if e != e else slope, e if e != e else real(0)


@element
def mean_squared_logarithmic_error(real, y_true, y_pred, epsilon):
    y = epsilon if y_true < epsilon else y_true
    p = epsilon if y_pred < epsilon else y_pred
    # log((1 + p)/(1 + y)) by the difference of the two, which is exact where they are close.
    d = p - y
    log = math.copysign(math.log1p(abs(d) / (real(1) + (y if y < p else p))), d)
    slope = real(1) / (real(1) + p)
    # An infinite y_pred outgrows its logarithm.
    finite = real(0) if log == real(math.inf) else log
    gradient = hessian = d if d != d else real(0)
    if not y_pred < epsilon:
        gradient = real(2) * (finite * slope)
        hessian = real(2) * ((real(1) - finite) * slope) * slope
    return log * log, gradient, hessian


# Losses of the margin


@element
def hinge(real, y_true, y_pred):
    # The product with a label of -1 or 1 is exact, so that the difference needs no fused multiply-add.
    margin = real(1) - y_true * y_pred
    value = real(0) if margin < real(0) else margin
    slope = -y_true if margin > real(0) else real(0)
    return value, margin if margin != margin else slope, margin if margin != margin else real(0)


@element
def squared_hinge(real, y_true, y_pred):
    margin = real(1) - y_true * y_pred
    slack = real(0) if margin < real(0) else margin
    gradient = real(-2) * (y_true * slack) if margin > real(0) else real(0)
    hessian = real(2) * (y_true * y_true) if margin > real(0) else real(0)
    return slack * slack, margin if margin != margin else gradient, margin if margin != margin else hessian


@element
def exponential(real, y_true, y_pred):
    half = real(-0.5) * y_true
    product = half * y_pred
    # The rounding error of the product, from the halves of its factors; 0 for labels of -1 and 1.
    split = real(4097) if real(134217729) == real(134217728) else real(134217729)
    low = real(0)
    if abs(product) < real(1000) and abs(y_pred) < real(1e30):
        half_high = split * half - (split * half - half)
        y_high = split * y_pred - (split * y_pred - y_pred)
        half_low = half - half_high
        y_low = y_pred - y_high
        low = (((half_high * y_high - product) + half_high * y_low) + half_low * y_high) + half_low * y_low
    root = math.exp(real(700) if product > real(700) else product) * (real(1) + low)
    scaled = y_true * root
    return root * root, -scaled * root, scaled * scaled


# Losses of a probability, a rate or a logit for each element


@element
def poisson(real, y_true, y_pred, epsilon):
    s = y_pred + epsilon
    # What s lost in rounding matters to its logarithm where s is close to 1.
    epsilon_used = s - y_pred
    low = (y_pred - (s - epsilon_used)) + (epsilon - epsilon_used)
    log = math.log(s) + low / s if s > real(0) else real(math.nan)
    # An infinite rate outgrows its logarithm.
    log = real(0) if y_true == real(0) or s == real(math.inf) else log
    # The difference with its rounding error keeps the gradient's digits near its root.
    d = y_pred - y_true
    y_true_used = y_pred - d
    d_low = (y_pred - (d + y_true_used)) + (y_true_used - y_true)
    ratio = y_true / s
    close = y_true > real(0.5) * s and y_true < real(2) * s
    gradient = ((d + epsilon) + d_low) / s if close else real(1) - ratio
    return y_pred - y_true * log, gradient, ratio / s


@element
def poisson_log_link(real, y_true, y_pred):
    half = real(0.5) * y_pred
    root = math.exp(real(700) if half > real(700) else half)
    rate = root * root
    # An infinite rate outgrows the product.
    product = real(0) if y_true == real(0) else y_true * y_pred
    value = rate + real(0) * y_true if rate == real(math.inf) else rate - product
    return value, rate - y_true, rate


@element
def gamma_log_link(real, y_true, y_pred):
    half = real(-0.5) * y_pred
    root = math.exp(real(700) if half > real(700) else half)
    # The root twice, so that neither factor leaves the range where the product does not.
    ratio = y_true * root * root
    return ratio if ratio == real(math.inf) else y_pred + ratio, real(1) - ratio, ratio


@element
def tweedie(real, y_true, y_pred, power):
    # Far out the exponentials are 0 or inf.
    z = real(-1e20) if y_pred < real(-1e20) else y_pred
    z = real(1e20) if z > real(1e20) else z
    up = real(2) - power
    down = power - real(1)
    half_up = real(0.5) * up
    half_down = real(-0.5) * down
    up_product = half_up * z
    down_product = half_down * z
    # The rounding errors of the products, from the halves of their factors: exp would magnify them.
    split = real(4097) if real(134217729) == real(134217728) else real(134217729)
    z_high = split * z - (split * z - z)
    z_low = z - z_high
    high = split * half_up - (split * half_up - half_up)
    low = half_up - high
    up_low = (((high * z_high - up_product) + high * z_low) + low * z_high) + low * z_low
    high = split * half_down - (split * half_down - half_down)
    low = half_down - high
    down_low = (((high * z_high - down_product) + high * z_low) + low * z_high) + low * z_low
    up_low = real(0) if abs(up_product) > real(1000) else up_low
    down_low = real(0) if abs(down_product) > real(1000) else down_low
    root = math.exp(real(700) if up_product > real(700) else up_product) * (real(1) + up_low)
    a = root * root
    root = math.exp(real(700) if down_product > real(700) else down_product) * (real(1) + down_low)
    b = real(0) if y_true == real(0) else y_true * root * root
    return a / up + b / down, a - b, up * a + down * b


@element
def kl_divergence(real, y_true, y_pred, epsilon):
    y = epsilon if y_true < epsilon else y_true
    y = real(1) if y > real(1) else y
    p = epsilon if y_pred < epsilon else y_pred
    p = real(1) if p > real(1) else p
    # log(y/p) by the difference of the two, which is exact where they are close.
    d = y - p
    log = math.copysign(math.log1p(abs(d) / (y if y < p else p)), d)
    ratio = y / p
    inside = real(0) if y_pred < epsilon or y_pred > real(1) else real(1)
    return y * log, -ratio * inside, ratio / p * inside


@element
def binary_crossentropy(real, y_true, y_pred, epsilon):
    p = real(0) if y_pred < real(0) else y_pred
    p = real(1) if p > real(1) else p
    q = real(1) - p
    other = real(1) - y_true
    # The clip is done on the logarithms: 1 - epsilon itself has few digits of epsilon left.
    least = -math.log1p(-epsilon)
    most = -math.log(epsilon)
    a = most if p < epsilon else -math.log(p)
    a = least if a < least else a
    b = most if q < epsilon else -math.log1p(-p)
    b = least if b < least else b
    gradient = hessian = real(0) * p
    if p >= epsilon and q >= epsilon:
        positive = y_true / p
        negative = other / q
        gradient = negative - positive
        hessian = positive / p + negative / q
    return y_true * a + other * b, gradient, hessian


@element
def binary_crossentropy_from_logits(real, y_true, y_pred):
    a = abs(y_pred)
    t = math.exp(-a)
    other = real(1) - y_true
    large = real(1) / (real(1) + t)
    small = t * large
    up = large if y_pred > real(0) else small
    down = small if y_pred > real(0) else large
    wrong = other if y_pred > real(0) else y_true
    # A weight of 0 hides an infinite logit.
    value = (real(0) if wrong == real(0) else wrong * a) + math.log1p(t)
    return value, other * up - y_true * down, small * large


@element
def binary_focal_crossentropy(real, y_true, y_pred, gamma, alpha, apply_class_balancing, epsilon):
    p = real(0) if y_pred < real(0) else y_pred
    p = real(1) if p > real(1) else p
    q = real(1) - p
    other = real(1) - y_true
    weight = y_true * alpha + other * (real(1) - alpha) if apply_class_balancing else real(1)
    # The cross-entropy and its derivatives
    least = -math.log1p(-epsilon)
    most = -math.log(epsilon)
    a = most if p < epsilon else -math.log(p)
    a = least if a < least else a
    b = most if q < epsilon else -math.log1p(-p)
    b = least if b < least else b
    b0 = y_true * a + other * b
    b1 = b2 = real(0) * p
    if p >= epsilon and q >= epsilon:
        positive = y_true / p
        negative = other / q
        b1 = negative - positive
        b2 = positive / p + negative / q
    m = y_true * q + other * p
    r = real(0) if y_pred < real(0) or y_pred > real(1) else other - y_true
    slope = gamma * r
    curvature = slope * r * (gamma - real(1))
    power = real(1) if gamma == real(0) else m**gamma
    # Squares of roots, with the cross-entropy between the two, overflow only where the product does.
    infinite = real(math.inf)
    power1 = real(0.5) * (gamma - real(1))
    power2 = real(0.5) * (gamma - real(2))
    root1 = infinite if m == real(0) and power1 < real(0) else m**power1
    root2 = infinite if m == real(0) and power2 < real(0) else m**power2
    first = real(0) if slope == real(0) else root1 * (slope * b0) * root1
    second = real(0) if curvature == real(0) else root2 * (curvature * b0) * root2
    mixed = real(0) if slope == real(0) or b1 == real(0) else root1 * (real(2) * slope * b1) * root1
    return weight * (power * b0), weight * (first + power * b1), weight * (second + mixed + power * b2)


@element
def binary_focal_crossentropy_from_logits(real, y_true, y_pred, gamma, alpha, apply_class_balancing):
    a = abs(y_pred)
    t = math.exp(-a)
    other = real(1) - y_true
    weight = y_true * alpha + other * (real(1) - alpha) if apply_class_balancing else real(1)
    large = real(1) / (real(1) + t)
    small = t * large
    up = large if y_pred > real(0) else small
    down = small if y_pred > real(0) else large
    wrong = other if y_pred > real(0) else y_true
    right = y_true if y_pred > real(0) else other
    b0 = (real(0) if wrong == real(0) else wrong * a) + math.log1p(t)
    b1 = other * up - y_true * down
    odds = right * t + wrong
    power = weight * (real(1) if gamma == real(0) else (odds * large) ** gamma)
    # An exponential that underflows leaves p or q where the label is 0 or 1.
    share = real(1) if wrong == real(0) else t / odds
    r = (other - y_true) * large * share
    turn = (real(1) - t) * large
    turn = -turn if y_pred > real(0) else turn
    # r vanishes faster than the cross-entropy grows.
    bounded = real(0) if r == real(0) else b0
    slope = gamma * r
    hessian = slope * (((gamma - real(1)) * r + turn) * bounded + real(2) * b1) + small * large
    return power * b0, power * (slope * bounded + b1), power * hessian


# The same with the weight of positives: (real, y_true, y_pred, class_weight, *parameters)


@element
def weighted_binary_crossentropy(real, y_true, y_pred, class_weight, epsilon):
    p = real(0) if y_pred < real(0) else y_pred
    p = real(1) if p > real(1) else p
    q = real(1) - p
    own = class_weight * y_true
    other = real(1) - y_true
    least = -math.log1p(-epsilon)
    most = -math.log(epsilon)
    a = most if p < epsilon else -math.log(p)
    a = least if a < least else a
    b = most if q < epsilon else -math.log1p(-p)
    b = least if b < least else b
    gradient = hessian = real(0) * p
    if p >= epsilon and q >= epsilon:
        positive = own / p
        negative = other / q
        gradient = negative - positive
        hessian = positive / p + negative / q
    return own * a + other * b, gradient, hessian


@element
def weighted_binary_crossentropy_from_logits(real, y_true, y_pred, class_weight):
    a = abs(y_pred)
    t = math.exp(-a)
    own = class_weight * y_true
    other = real(1) - y_true
    large = real(1) / (real(1) + t)
    small = t * large
    up = large if y_pred > real(0) else small
    down = small if y_pred > real(0) else large
    wrong = other if y_pred > real(0) else own
    value = (real(0) if wrong == real(0) else wrong * a) + (own + other) * math.log1p(t)
    return value, other * up - own * down, (own + other) * (small * large)


# Losses of the log-probability of a class: (real, log_probability, *parameters) -> (value, slope, curvature)


@element
def categorical_crossentropy(real, log_probability):
    return -log_probability, real(-1), real(0)


@element
def categorical_focal_crossentropy(real, log_probability, gamma, alpha):
    q = math.exp(log_probability)
    m = -math.expm1(log_probability)
    power = alpha * (real(1) if gamma == real(0) else m**gamma)
    ratio = real(1) if m == real(0) else -log_probability / m
    u = real(0) if q == real(0) else q * ratio
    odds = real(0) if m == real(0) else q / m
    # q vanishes faster than the ratio grows.
    curvature = real(0) if q == real(0) else power * odds * (gamma * (real(2) + gamma * u - ratio))
    return -power * log_probability, -power * (real(1) + gamma * u), curvature


# Steps of losses whose terms belong together, in float64 whatever the dtype


@element
def ctc(real, stay, advance, skip, emission):
    # The logarithm of a sum of three: the largest comes out, the others go through log1p.
    high = advance if advance > stay else stay
    low = stay if stay < advance else advance
    most = skip if skip > high else high
    middle = high if high < skip else skip
    shift = real(0) if most == real(-math.inf) else most
    return most + math.log1p(math.exp(low - shift) + math.exp(middle - shift)) + emission


@element
def circle(real, similarity, gamma, margin):
    # (exponent and slope of a positive pair, exponent and slope of a negative pair)
    distance = real(1) - similarity
    distance = real(0) if distance < real(0) else distance
    closeness = real(1) if similarity > real(1) else similarity
    reach = closeness + margin
    positive = gamma * ((distance + margin) * (distance - margin))
    negative = real(0) if reach < real(0) else gamma * (reach * (closeness - margin))
    slope = real(2) * gamma * closeness if reach > real(0) and similarity <= real(1) else real(0)
    return positive, real(-2) * gamma * distance, negative, slope


# Losses of the probability of a class: (real, probability, *parameters) -> (value, slope, curvature)


@element
def generalized_cross_entropy(real, probability, q):
    # The logarithm of 0 is no number to Python. A curvature beyond the largest number is infinite.
    p = probability
    if p == real(0):
        return real(1) / q, real(-math.inf), real(math.inf)
    if not p > real(0):
        return real(math.nan), real(math.nan), real(math.nan)
    log = math.log(p)
    x = q * log
    # The rounding error of the exponent counts log(p) times. A root, as a power that is too large raises in Python.
    exponent = q - real(1)
    part = exponent - q
    error = (q - (exponent - part)) - (real(1) + part)
    root = p ** (real(0.5) * exponent)
    slope = root * root * (real(1) + error * log)
    return -math.expm1(x) / q, -slope, (real(1) - q) * slope / p


# Losses of a target and the two parameters of its distribution:
# (real, y_true, location, scale, *parameters) -> (value, gradient and Hessian by location, by scale)


@element
def gaussian_nll(real, y_true, location, scale):
    e = location - y_true
    # The powers of exp(-s/4) one by one: none overflows before the result does.
    most = real(87) if real(1e-30) * real(1e-30) == real(0) else real(708)
    quarter = real(-0.25) * scale
    quarter = -most if quarter < -most else quarter
    quarter = most if quarter > most else quarter
    root = math.exp(quarter)
    inverse = root * root
    a = abs(e) * root * root
    half = real(0.5) * a * a
    # A variance of 0 outgrows its logarithm.
    value = half if a > real(0) and scale == real(-math.inf) else real(0.5) * scale + half
    return value, e * root * root * root * root, real(0.5) - half, inverse * inverse, half


# Losses of sums over a row, in float64: (real, y_true, y_pred, *parameters) -> three summands and the candidate
# for the maximum; _NAME_row(real, three sums, maximum, ties, *parameters) -> value and two coefficients;
# _NAME_derivative(real, y_true, y_pred, is_maximum, two coefficients) -> the gradient of the element


@element
def categorical_hinge(real, y_true, y_pred):
    # A label of 0 or 1 hides an infinite score from one of the two.
    other = real(1) - y_true
    product = real(0) if y_true == real(0) else y_true * y_pred
    return product, real(0), real(0), real(0) if other == real(0) else other * y_pred


@row_function
def _categorical_hinge_row(real, positive, unused, unused_too, maximum, ties):
    slack = (maximum - positive) + real(1)
    active = slack if slack != slack else (real(1) if slack > real(0) else real(0))
    return real(0) if slack < real(0) else slack, -active, active / ties


@row_function
def _categorical_hinge_derivative(real, y_true, y_pred, is_maximum, own, share):
    return own * y_true + (share * (real(1) - y_true) if is_maximum else real(0))


@scale_free
@element
def cosine_similarity(real, y_true, y_pred):
    return y_true * y_pred, y_true * y_true, y_pred * y_pred, real(0)


@row_function
def _cosine_similarity_row(real, product, true_square, pred_square, maximum, ties):
    if true_square == real(0) or pred_square == real(0):
        zero = real(0) * (true_square + pred_square)
        return zero, zero, zero
    norms = math.sqrt(true_square) * math.sqrt(pred_square)
    return -product / norms, real(-1) / norms, product / norms / pred_square


@row_function
def _cosine_similarity_derivative(real, y_true, y_pred, is_maximum, of_true, of_pred):
    return of_true * y_true + of_pred * y_pred


@element
def tversky(real, y_true, y_pred):
    return y_true * y_pred, y_true * (real(1) - y_pred), (real(1) - y_true) * y_pred, real(0)


@row_function
def _tversky_row(real, common, missed, false, maximum, ties, alpha, beta, epsilon):
    misses = alpha * missed + beta * false + epsilon
    whole = common + misses
    return misses / whole, -(alpha * common + misses) / whole / whole, beta * common / whole / whole


@row_function
def _tversky_derivative(real, y_true, y_pred, is_maximum, of_true, of_rest):
    return of_true * y_true + of_rest * (real(1) - y_true)


# Tversky's loss with alpha = beta = 1/2


@element
def dice(real, y_true, y_pred):
    return y_true * y_pred, y_true * (real(1) - y_pred), (real(1) - y_true) * y_pred, real(0)


@row_function
def _dice_row(real, common, missed, false, maximum, ties, epsilon):
    misses = missed + false + epsilon
    whole = real(2) * common + misses
    return misses / whole, real(-2) * (common + misses) / whole / whole, real(2) * common / whole / whole


@row_function
def _dice_derivative(real, y_true, y_pred, is_maximum, of_true, of_rest):
    return of_true * y_true + of_rest * (real(1) - y_true)
