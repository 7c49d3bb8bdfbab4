"""The names of measures, and the one that a game is judged by. Nothing here needs torch."""

from collections.abc import Mapping

HEADLINE: dict[str, str] = {
    "classification": "accuracy",
    "regression": "r2",
    "multi-label": "average_precision",
}
"""The measure that a game is judged by: higher is better."""

WORDS = {
    "accuracy": "accuracy",
    "r2": "R²",
    "rmse": "RMSE",
    "average_precision": "mean average precision",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
}
"""The measures in words."""


def headline(test: Mapping[str, float | None]) -> tuple[str, float] | None:
    """Return the headline among the measures of a test set, in words, and its value; None if there is none.

    Args:
        test: measures by name, each after `test_`; others are ignored.

    >>> headline({"test_rmse": 0.7, "test_r2": 0.5})
    ('test R²', 0.5)
    """
    for name in HEADLINE.values():
        value = test.get(f"test_{name}")
        if value is not None:
            return f"test {WORDS[name]}", value
    return None
