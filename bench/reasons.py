# SPDX-License-Identifier: BSD-3-Clause
"""Why rows of the report miss a target, or a peer is faster: in words, since a measurement does not say."""

# By letter: what the row, operation and peer match, and the reason; the first that matches counts.
FASTER = {
    "A": (
        r"^categorical_generalized_cross_entropy",
        "Numba and the NumPy formula read the probability of the label and nothing else. fastloss reads all of "
        "y_pred, at the speed of memory, because it refuses a probability outside [0, 1] wherever it stands.",
    ),
    "B": (
        r" 32 x 10.*Numba",
        "A call of Numba's compiled function reads two pointers and checks nothing. Of a call of fastloss about "
        "0.2 us goes to dtypes, strides, labels and weights before the first element; what is left is a sum of 32 "
        "short rows.",
    ),
    "C": (
        r"^(cosine_similarity|dice|tversky|sparse_categorical_crossentropy|categorical_hinge) 16384",
        "fastloss sums in double, checks the bounds of each element, and reads the inputs twice for a gradient; "
        "the peer sums in float32 and checks nothing. The value runs at 85 % or more of the speed at which memory "
        "can be read.",
    ),
    "D": (
        r"^categorical_(focal_)?crossentropy\b.*, (torch.compile|JAX)",
        "The peer takes log(sum(exp(z - m))), which loses the digits of a sure prediction; fastloss leaves the "
        "largest term out of the sum. With few classes rows are transposed into tiles, and gradients out of them; "
        "with many, labels are looked at for zeros.",
    ),
    "E": (
        r"grad_and_hess, scikit-learn",
        "scikit-learn writes the Hessian of a squared loss as ones and has no weights here; both are near the "
        "speed at which memory takes the two outputs.",
    ),
    "F": (
        r"^mean_squared_error.*(bfloat16|float16)",
        "Halves are converted in a pass over blocks in cache before the loss is taken, which costs as much as "
        "this loss; a conversion in the loop itself would need each loop once for each dtype.",
    ),
    "G": (
        r"^(exponential|gamma|poisson|poisson_log_link|tweedie|kl_divergence|binary_focal_crossentropy)\b",
        "Bound by computing: exp and log to within about 1 ulp, with NaN, infinity and subnormal numbers treated; "
        "the peer's are shorter by a term or two, and its sum is in float32.",
    ),
    "H": (
        r", value, torch.compile",
        "Both read memory and do next to nothing else: fastloss at 85 % to 95 % of the plain read, the peer at "
        "all of it. Prefetching, longer blocks and dropping the values between loop and sum brought nothing; see "
        "the notes.",
    ),
}

NOT_MET = {
    "P1": (
        "Long rows run near the limit, with the peers at about half of it, so that 2.5 times a peer would be more "
        "than the limit. At 1000 classes the work once a row counts (a window, sums of lanes, a logarithm); logits "
        "are loaded 8 KB ahead, which brought 1.5 times. Dense labels are read as well, and looked at for zeros."
    ),
    "P2": (
        "Reading logits and storing gradients past the caches take turns, so that their times add. Keeping the terms "
        "in between (which pays while gradients stay in cache: 1.3 times), loading the next rows while storing, and "
        "larger batches were tried. Fresh memory is handed out by the system page by page, which takes as long as the "
        "kernel; ordinary stores to it take the same time."
    ),
    "P3": (
        "Bound by computing. Integer labels: sums of neighbours by vectors. Dense labels: rows are transposed "
        "into tiles, which made them 2x to 4x faster than before; a tile's work once a row (two divisions, a "
        "logarithm, an exponential) counts up to 10 classes, the transposition from 17 on."
    ),
    "P4": (
        "Bound by memory, as the peers are, which therefore cannot be passed by much; next to nothing is computed "
        "that loading ahead could hide."
    ),
    "P5": (
        "Bound by computing: exponentials and logarithms to within about 1 ulp. Shorter polynomials would lose "
        "digits; what could be cut without was (pairs of terms, no reduction where the range allows)."
    ),
    "P6": ("As P1, P3 and P5: few classes and losses with logarithms are bound by computing, twice as much so in float64."),
    "P7": (
        "Halves are converted block by block in cache, by the processor's instructions where there are any, and then "
        "computed in float32: most of these losses are bound by computing, which the conversion adds to, and blocks "
        "that are converted are not loaded ahead as rows of float32 are. Only a conversion inside each loop would "
        "save it, at the price of every loop once more for each dtype."
    ),
    "P8": (
        "ctc here sums over 100 steps of 64 classes, and circle over all pairs of 32 rows: more work than 1.2 us. "
        "Dense focal losses raise 320 probabilities to a power. The rest is in the table below."
    ),
    "P9": (
        "Two threads of this machine together read little more than one (see its limits), and share it with "
        "others: what comes near memory cannot reach 1.8. Tasks are given out in long runs, so that each thread "
        "reads one stretch."
    ),
    "P11": ("Where exponentials and logarithms bound a loss, half the vector width takes twice the time."),
    "P12": (
        "A processor foresees nothing of a row that lies elsewhere. The next one is loaded meanwhile, which brought "
        "1.4 to 2.9 times; what is left is where rows begin and end, in lines that are half used."
    ),
}
