"""The sweep: what becomes of each case, by the library as its users call it."""

import inspect
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

import midstream
from benchmarks.derivatives.architectures import architectures
from benchmarks.derivatives.case import Case, Problem
from benchmarks.derivatives.operations import operations
from benchmarks.derivatives.witness import Derivatives, UnsoundWitness, finite_differences
from benchmarks.measure import Row
from midstream import hessian_vector_product, mixed_derivative, validation_gradient
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.loss import Loss

Subject = Callable[[Problem, Loss], tuple[str, Derivatives]]
"""The code under test: the order that it takes, and the derivatives."""

Verdict = Literal["right", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        verdict: right, refused in a sentence, or failed: anything else.
        order: the order of differentiation that was used.
        errors: the relative errors of `v`, `B_x u` and `H u` in double precision.
        single: the largest of them in single precision.
        text: the sentence, or what failed.
        expected: whether the table says the same.
    """

    case: Case
    verdict: Verdict
    order: str = ""
    errors: tuple[float, ...] = ()
    single: float | None = None
    text: str = ""
    seconds: float = 0.0

    @property
    def expected(self) -> bool:
        return self.verdict == ("refused" if self.case.refused else "right")


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return how many of each there are, with the largest errors."""
    outcomes = list(outcomes)
    count = {word: sum(o.verdict == word for o in outcomes) for word in ("right", "refused", "failed")}
    text = ", ".join(f"{number} {word}" for word, number in count.items())
    right = [o for o in outcomes if o.verdict == "right"]
    if right:
        text += f"; errors up to {max(max(o.errors) for o in right):.0e} in double precision"
    if single := [o.single for o in right if o.single is not None]:
        text += f", {max(single):.0e} in single"
    return text


def rows() -> list[Row]:
    """Return the whole sweep, for the figures of `python -m benchmarks`."""
    return [_row("architectures", architectures()), _row("operations", operations())]


def _row(name: str, cases: list[Case]) -> Row:
    found = [judge(case) for case in cases]
    unexpected = [o.case.name for o in found if not o.expected]
    return Row(
        f"(h) derivatives of {len(cases)} {name}",
        summary(found),
        ", ".join(unexpected) or "right or refused, as the table says",
        not unexpected,
    )


class Refused(Exception):
    """The library said in a sentence that it has no right derivatives."""


class Failed(Exception):
    """The library did something else."""


def as_users_do(problem: Problem, loss: Loss) -> tuple[str, Derivatives]:
    """Take the derivatives of midstream, in the order that its check finds."""
    model, x, y, u = problem.model, problem.inputs, problem.labels, problem.direction
    mixed = mixed_derivative(model, x, y, u, loss=loss)
    v = validation_gradient(model, x, y, loss=loss)
    product = hessian_vector_product(model, x, y, u, loss=loss)
    gradient, curved = (torch.cat([g[name].flatten() for name in u]) for g in (v, product))
    return order_of(model, x, y, loss=loss), Derivatives(gradient, mixed.flatten(), curved)


def judge(case: Case, subject: Subject = as_users_do, *, single: bool = True) -> Outcome:
    """Return what becomes of a case: in double precision, and in single if asked."""
    started = time.perf_counter()
    outcome = _judged(case, subject, single=single)
    return Outcome(**{**vars(outcome), "seconds": time.perf_counter() - started})


def _judged(case: Case, subject: Subject, *, single: bool) -> Outcome:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order = ""
        errors: tuple[float, ...] = ()
        worst: float | None = None
        try:
            order, found = _tried(case, subject, torch.float64)
            true = finite_differences(case.build(reference=True), case.loss)
            errors = true.errors(found)
            _hold(errors, case.double, "double")
            if single:
                order_, found = _tried(case, subject, torch.float32)
                worst = max(true.errors(found))
                order = order if order == order_ else f"{order}; in single precision {order_}"
                _hold(true.errors(found), case.single, "single")
        except Refused as refusal:
            if errors:
                return Outcome(
                    case, "failed", order, errors, text=f"right in double precision, in single: {refusal}"
                )
            return Outcome(case, "refused", text=str(refusal))
        except (Failed, UnsoundWitness) as failure:
            return Outcome(case, "failed", order, errors, worst, str(failure))
    return Outcome(case, "right", order, errors, worst)


def _tried(case: Case, subject: Subject, dtype: torch.dtype) -> tuple[str, Derivatives]:
    """Return what the subject makes of a model that has been used, and hold that it leaves it as it was."""
    problem = case.build(dtype)
    for p in problem.model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    modes = [layer.training for layer in problem.model.modules()]
    try:
        order, found = subject(problem, case.loss)
    except ValueError as error:
        if _is_ours(error) and (case.refused in str(error)):
            raise Refused(str(error)) from error
        raise Failed(_raw(error)) from error
    except Exception as error:
        raise Failed(_raw(error)) from error
    after = problem.model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(after[name], value)]
    if changed or modes != [layer.training for layer in problem.model.modules()]:
        raise Failed(f"changed the model: {', '.join(changed) or 'its mode'}")
    if not all(p.grad is not None and bool((p.grad == 7.0).all()) for p in problem.model.parameters()):
        raise Failed("changed the .grad of a parameter")
    return order, found


def _is_ours(error: BaseException) -> bool:
    """Return whether midstream raised the error itself, rather than let one of torch's pass."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(midstream.__file__).parent)


def _raw(error: Exception) -> str:
    first = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first[0]}"


def _hold(errors: tuple[float, ...], bound: float, precision: str) -> None:
    if not max(errors) <= bound:
        listed = ", ".join(
            f"{name} {error:.1e}" for name, error in zip(("v", "B_x u", "H u"), errors, strict=True)
        )
        raise Failed(f"wrong in {precision} precision: {listed}")
