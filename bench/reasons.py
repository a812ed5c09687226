# SPDX-License-Identifier: BSD-3-Clause
"""Why rows of the report miss a target, or a peer is faster: in words, since a measurement does not say."""

# By letter: what the row, operation and peer match, and the reason; the first that matches counts.
FACTS = r"[^,]* 32 x 10"
FASTER = {
    "A": (
        rf"^categorical_generalized_cross_entropy.*Numba|^categorical_generalized.*{FACTS}",
        "Numba and the NumPy formula read the probability of the label and nothing else. fastloss reads all of y_pred, at the "
        "speed of memory, because it refuses a probability outside [0, 1] wherever it stands.",
    ),
    "B": (
        r" 32 x 10.*Numba",
        "A call of Numba's compiled function reads two pointers and checks nothing. Of a call of fastloss about 0.2 us goes "
        "to dtypes, strides, labels and weights before the first element; what is left is a sum of 32 short rows.",
    ),
    "C": (
        r"^(cosine_similarity|dice|tversky|sparse_categorical_crossentropy|categorical_hinge) 16384",
        "fastloss sums in double, checks the bounds of each element, and reads the inputs twice for a gradient; the peer "
        "sums in float32 and checks nothing. The value runs at 60 % to 90 % of the speed at which memory can be read.",
    ),
    "D": (
        r"^categorical_(focal_)?crossentropy \(from logits\).*, torch.compile|^categorical_crossentropy \(from logits\).*, JAX",
        "The peer takes log(sum(exp(z - m))), which loses the digits of a sure prediction; fastloss leaves the largest term "
        "out of the sum. With few classes rows are transposed into tiles, and reading a tile does not overlap with computing "
        "the one before as well as it could. Measured in cache the same kernels are 2x faster.",
    ),
    "E": (
        r"grad_and_hess, scikit-learn",
        "scikit-learn writes the Hessian of a squared loss as ones and has no weights here; both are near the speed at "
        "which memory takes the two outputs.",
    ),
    "F": (
        r"^mean_squared_error.*(bfloat16|float16)",
        "Halves are converted in a pass over blocks in cache before the loss is taken, which costs as much as this loss; "
        "a conversion in the loop itself would need each loop once for each dtype.",
    ),
    "G": (
        r"^(exponential|gamma|poisson|poisson_log_link|tweedie|kl_divergence|binary_focal_crossentropy)\b",
        "Bound by computing: exp and log to within about 1 ulp, with NaN, infinity and subnormal numbers treated; the peer's "
        "are shorter by a term or two, and its sum is in float32.",
    ),
    "H": (
        r" 16384 x 1024, value, torch.compile",
        "Both read memory and do next to nothing else: fastloss at 75 % to 90 % of the plain read, the peer at all of it. "
        "Prefetching, longer blocks and dropping the values between loop and sum brought nothing; see the notes.",
    ),
}

NOT_MET = {}
