"""The operations of the sweep: a layer or a function each, between two trainable layers."""

from benchmarks.derivatives.activations import ACTIVATIONS, ELEMENTWISE
from benchmarks.derivatives.attention import ATTENTION, RECURRENCE
from benchmarks.derivatives.case import Case
from benchmarks.derivatives.convolutions import CONVOLUTIONS, POOLING, RESAMPLING
from benchmarks.derivatives.linear_algebra import LINEAR_ALGEBRA
from benchmarks.derivatives.losses import LOSSES
from benchmarks.derivatives.mechanics import MECHANICS
from benchmarks.derivatives.norms import NORMS, WEIGHTS
from benchmarks.derivatives.tensors import FOURIER, INDEXING, REDUCTIONS

OPERATIONS: dict[str, list[Case]] = {
    "Normalisation": NORMS,
    "Normalised weights": WEIGHTS,
    "Attention": ATTENTION,
    "Recurrence": RECURRENCE,
    "Ways to write a layer": MECHANICS,
    "Activations": ACTIVATIONS,
    "Convolutions": CONVOLUTIONS,
    "Pooling": POOLING,
    "Padding and resampling": RESAMPLING,
    "Linear algebra": LINEAR_ALGEBRA,
    "Reductions": REDUCTIONS,
    "Sorting and indexing": INDEXING,
    "Fourier transforms and complex numbers": FOURIER,
    "Elementwise functions": ELEMENTWISE,
    "Losses": LOSSES,
}


def operations() -> list[Case]:
    """Return all of them."""
    return [case for cases in OPERATIONS.values() for case in cases]
