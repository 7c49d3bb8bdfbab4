"""Layers and models of every kind: right derivatives, or a refusal in a sentence; the sweep that says so."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.derivatives.architectures import architectures
from benchmarks.derivatives.case import Case, Problem
from benchmarks.derivatives.operations import operations
from benchmarks.derivatives.report import HEADING, line, rows
from benchmarks.derivatives.sweep import Subject, as_users_do, judge
from benchmarks.derivatives.witness import Derivatives, UnsoundWitness, finite_differences, relative
from torch import nn

from midstream import hessian_vector_product, mixed_derivative, validation_gradient
from midstream.mathematics.loss import Loss, cross_entropy

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parent.parent / "docs"
EVERY = [*architectures(), *operations()]
NAMED = {case.name: case for case in EVERY}


def marked(case: Case) -> object:
    small = case.group == "layer" or (case.group == "architecture" and math.prod(case.shape) < 1000)
    return pytest.param(case, id=case.name, marks=() if small else pytest.mark.slow)


@pytest.mark.parametrize("case", [marked(case) for case in EVERY if not case.costly])
def test_derivatives_are_right_or_refused(case: Case) -> None:
    outcome = judge(case, single=case.group != "operation" and math.prod(case.shape) < 1000)
    assert outcome.expected, line(outcome)


def in_order(order: str) -> Subject:
    """Return the library without its check."""

    def taken(problem: Problem, loss: Loss) -> tuple[str, Derivatives]:
        model, x, y, u = problem.model, problem.inputs, problem.labels, problem.direction
        v = validation_gradient(model, x, y, loss=loss)
        mixed = mixed_derivative(model, x, y, u, loss=loss, order=order)  # type: ignore[arg-type]
        product = hessian_vector_product(model, x, y, u, loss=loss, order=order)  # type: ignore[arg-type]
        gradient, curved = (torch.cat([g[name].flatten() for name in u]) for g in (v, product))
        return order, Derivatives(gradient, mixed.flatten(), curved)

    return taken


@pytest.mark.parametrize("name", ["LayerNorm", "InstanceNorm2d", "det", "MLP-Mixer", "ConvNeXt"])
def test_the_sweep_finds_what_forward_rules_by_hand_drop(name: str) -> None:
    outcome = judge(NAMED[name], in_order("reverse-over-forward"), single=False)
    assert outcome.verdict == "failed"
    assert "wrong in double precision" in outcome.text
    assert outcome.errors[0] < 1e-12 < 1e-3 < outcome.errors[1]


def test_an_error_of_torch_is_no_refusal() -> None:
    outcome = judge(NAMED["GLU"], in_order("reverse-over-forward"), single=False)
    assert (outcome.verdict, outcome.text) == (
        "failed",
        "RuntimeError: derivative for aten::glu_jvp is not implemented",
    )

    def of_a_stranger(*_: object) -> tuple[str, Derivatives]:
        raise ValueError("layer 'operation' couples the examples")

    assert judge(NAMED["BatchNorm2d, training"], of_a_stranger).verdict == "failed"


def test_a_refusal_says_what_the_table_says_and_only_where_it_does() -> None:
    refused = judge(replace(NAMED["BatchNorm2d, training"], refused=""))
    assert (refused.verdict, refused.expected) == ("refused", False)
    other = judge(replace(NAMED["BatchNorm2d, training"], refused="the moon"))
    assert other.verdict == "failed"
    right = judge(replace(NAMED["Tanh"], refused="example"))
    assert (right.verdict, right.expected) == ("right", False)


@pytest.mark.parametrize("part", ["gradient", "mixed", "product"])
def test_a_small_error_in_one_of_the_three_is_found(part: str) -> None:
    def off(problem: Problem, loss: Loss) -> tuple[str, Derivatives]:
        order, found = as_users_do(problem, loss)
        return order, replace(found, **{part: getattr(found, part) * (1 + 3e-5)})

    outcome = judge(NAMED["Tanh"], off, single=False)
    assert outcome.verdict == "failed"
    assert sum(error > 1e-5 for error in outcome.errors) == 1


def test_an_error_in_single_precision_only_is_found() -> None:
    def off(problem: Problem, loss: Loss) -> tuple[str, Derivatives]:
        order, found = as_users_do(problem, loss)
        doubled = found.mixed * (1 if found.mixed.dtype == torch.float64 else 2)
        return order, replace(found, mixed=doubled)

    outcome = judge(NAMED["Tanh"], off)
    assert outcome.verdict == "failed"
    assert "single" in outcome.text


def buffer(model: nn.Module) -> None:
    next(model.buffers()).add_(1)


def gradient(model: nn.Module) -> None:
    next(model.parameters()).grad = None


@pytest.mark.parametrize("touch", [buffer, nn.Module.train, gradient])
def test_a_model_that_is_not_left_alone_is_found(touch: Callable[[nn.Module], object]) -> None:
    def careless(problem: Problem, loss: Loss) -> tuple[str, Derivatives]:
        found = as_users_do(problem, loss)
        touch(problem.model)
        return found

    outcome = judge(NAMED["BatchNorm2d, evaluation"], careless, single=False)
    assert outcome.verdict == "failed"
    assert outcome.text.startswith("changed the")


def test_the_witness_is_double_backward_where_that_is_right() -> None:
    problem = NAMED["Tanh"].build()
    found = finite_differences(problem, cross_entropy)
    problem = NAMED["Tanh"].build()
    leaves = dict(problem.model.named_parameters())
    x = problem.inputs.requires_grad_()
    gradient = torch.autograd.grad(
        cross_entropy(problem.model(x), problem.labels), list(leaves.values()), create_graph=True
    )
    along_u = torch.stack(
        [(g * problem.direction[n]).sum() for n, g in zip(leaves, gradient, strict=True)]
    ).sum()
    mixed, *product = torch.autograd.grad(along_u, [x, *leaves.values()])
    assert relative(found.gradient, torch.cat([g.detach().flatten() for g in gradient])) < 1e-12
    assert relative(found.mixed, mixed.flatten()) < 1e-6
    assert relative(found.product, torch.cat([part.flatten() for part in product])) < 1e-6


def test_the_witness_does_not_judge_what_it_cannot() -> None:
    case = NAMED["straight-through estimator"]
    with pytest.raises(UnsoundWitness):
        finite_differences(case.build(), case.loss)


def test_the_sweep_is_as_large_as_it_says() -> None:
    assert len(NAMED) == len(EVERY)
    assert len(operations()) >= 90
    assert len(architectures()) >= 30


def test_the_pages_have_every_case_and_its_outcome() -> None:
    models = (DOCS / "own-model.md").read_text(encoding="utf-8").split(HEADING)[1]
    parts = (DOCS / "operations.md").read_text(encoding="utf-8")
    listed = [case for case in EVERY if case.group != "operation" and not case.name.startswith("timm")]
    for page, cases in ((models, listed), (parts, operations())):
        assert [row.split(" | ")[0] for row in rows(page)] == [f"| {case.name}" for case in cases]
        for case in cases:
            assert f"| {case.name} | {'refused' if case.refused else 'right'}" in page, case.name
