"""Replaces fused kernels that torch cannot differentiate twice by their formulas."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _ByFormula(TorchFunctionMode):
    """Computes by formula the functions whose fused kernels have no correct second derivatives.

    - Attention: the fused kernels and the fast path of `nn.TransformerEncoderLayer` have none.
    - Weight norm: its double backward silently treats the norm as a constant.
    - Hard sigmoid, used by MobileNetV3: its backward pass has no derivative.

    This mode affects one thread; torch's own switch for attention affects the whole process.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        del types
        return _BY_FORMULA.get(function, function)(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # the formula takes a mask to add
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, float("-inf"))
    formula = torch.ops.aten._scaled_dot_product_attention_math
    output: Tensor = formula(query, key, value, attn_mask, *args, **kwargs)[0]
    return output


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hard_sigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu6(x + 3, inplace) / 6


# A copy of torch's function that calls attention by its formula: a mode does not see the calls inside.
_multi_head_attention = FunctionType(
    F.multi_head_attention_forward.__code__,
    vars(F) | {"scaled_dot_product_attention": _attention, "has_torch_function": lambda _: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)

_BY_FORMULA: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head_attention,
    torch._weight_norm: _weight_norm,
    F.hardsigmoid: _hard_sigmoid,
}


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Within this context, compute by operations that torch can differentiate twice, without autocast."""
    with ExitStack() as stack:
        for device in {parameter.device.type for parameter in model.parameters()}:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if not all(map(_is_plain, model.modules())):
            stack.enter_context(_ByFormula())
        yield


def _is_plain(module: nn.Module) -> bool:
    """Return whether a layer is torch's own and needs no formula, so that the slower mode can be avoided."""
    kind = type(module)
    return (
        kind.__module__.startswith("torch.nn.modules.")
        and not kind.__module__.endswith(".transformer")
        and kind not in (nn.MultiheadAttention, nn.Hardsigmoid)
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )
