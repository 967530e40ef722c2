"""The names of the checks, in order; each is the anchor of its section in docs/checks.md."""

NAMES = (
    # About the model, before any attack.
    "deterministic-forward",  # random layers, inputs or weights
    "logits-not-probabilities",  # softmax as output, huge temperature, a class that rejects
    "input-gradients",  # zero, NaN or infinite: rounding, dead layers, saturation
    "gradient-graph",  # detach, no_grad, NumPy inside
    "test-time-optimisation",  # gradient steps inside the forward pass
    # About the strength of the attacks.
    "black-box-beats-white-box",  # gradients that mislead
    "noise-beats-white-box",  # the same, by luck or by a surrogate
    "stable-predictions",  # predictions that jump
    "silent-success",  # a success on the way that the result does not show
    "loss-converged",  # too few steps
    "unbounded-attack",  # with the whole range allowed, nothing should hold
    "accuracy-against-eps",  # more room should never help the defender
    "more-steps",  # doubled steps and restarts
    "iterative-beats-single-step",  # catastrophic overfitting, too small steps
    "finite-differences",  # gradients that are not those of the function
    # About the arithmetic and the books.
    "returned-examples",  # outside the threat, or depending on batch mates (train-mode BatchNorm)
    "model-hygiene",  # weights, buffers, modes or global randomness changed
    "data-hygiene",  # range, labels, duplicates, too few examples, doubled normalisation
    "nan-logits",
    "certified-below-attacked",  # proved, and yet broken
    # About what the model hides behind.
    "random-model",  # noise on, off and averaged
    "obfuscated-weights",  # the same function, written differently
    "loss-scale",  # what cross-entropy misses for its scale: averaged probabilities of an ensemble
)
