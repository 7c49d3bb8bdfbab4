"""The scale of all checkers, and the scores of a checker, against independent implementations."""

import numpy as np
import pytest
import torch

from midstream import among
from midstream.command.runs.detection import auc, true_positives

TRUSTED = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SCORES = torch.randn(15, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_an_example_has_the_share_of_trusted_examples_below_it() -> None:
    inside = SCORES[(TRUSTED.min() < SCORES) & (TRUSTED.max() > SCORES)]
    found = among(TRUSTED, inside).examples
    assert torch.allclose(found, (inside[:, None] > TRUSTED).double().mean(1).float())


def test_equal_scores_count_half() -> None:
    assert among(torch.zeros(8), torch.zeros(3)).examples.tolist() == [0.5, 0.5, 0.5]


def test_examples_beyond_all_trusted_ones_are_ordered() -> None:
    found = among(TRUSTED, torch.tensor([-9.0, -8.0, 8.0, 9.0])).examples
    assert (found.diff() > 0).all()
    assert found[1] < 0
    assert found[2] > 1


def test_the_batch_has_the_probability_of_mann_and_whitney() -> None:
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(SCORES, TRUSTED, alternative="less", method="asymptotic", use_continuity=False)
    assert float(among(TRUSTED, SCORES).batch) == pytest.approx(test.pvalue, abs=1e-6)


def test_trusted_scores_that_agree_divide_by_nothing() -> None:
    found = among(torch.ones(5), torch.tensor([0.0, 2.0]))
    assert found.examples.tolist() == [-1.0, 2.0]
    assert found.batch.isfinite()


def test_the_area_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    truth = np.arange(40) % 3 == 0
    scores = TRUSTED.numpy().round(1)  # with ties
    assert auc(scores[truth], scores[~truth]) == pytest.approx(roc_auc_score(truth, scores))


def test_true_positives_are_those_above_all_but_a_twentieth_of_the_clean() -> None:
    clean = np.arange(101) / 100
    assert true_positives(np.array([0.94, 0.96, 0.97, 2.0]), clean) == 0.75
