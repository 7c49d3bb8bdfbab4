"""Networks of layers that torch differentiates in its own way, and each as a formula of its parameters."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from cases import CLASSES
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

Formula = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor], Tensor]
"""`(parameters, buffers, inputs) -> logits`, in operations that are differentiated by their definition."""


@dataclass(frozen=True)
class Foreign:
    """A network in evaluation mode; `formula` computes the same."""

    name: str
    network: Callable[[], nn.Module]
    formula: Formula
    input_shape: tuple[int, ...] = (5,)

    def build(self, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
        """Return the network, inputs and labels, the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.network().to(dtype).eval()
            return model, torch.rand(4, *self.input_shape).to(dtype), torch.tensor([0, 1, 2, 1])


class Do(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        x: Tensor = ctx.saved_tensors[0]
        return 3 * x**2 * gradient


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.cells, self.head = kind(5, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])  # type: ignore[no-any-return]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.head = nn.Linear(8, 24), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mixed(x).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(q, k, v).mean(1))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))  # type: ignore[no-any-return]


def between(layer: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), layer, nn.Tanh(), nn.Linear(width, CLASSES))


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return between(nn.utils.weight_norm(nn.Linear(8, 8)))


def linear(x: Tensor, p: Mapping[str, Tensor], name: str) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def between_formula(layer: Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor], Tensor]) -> Formula:
    return lambda p, b, x: linear(layer(p, b, linear(x, p, "0")).tanh(), p, "3")


def normalised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    centred: Tensor = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + 1e-5) ** 0.5


def layer_norm(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return normalised(x, (-1,)) * p[f"{name}.weight"] + p[f"{name}.bias"]


def of_matrix(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 3] - x[:, 1] * x[:, 2] + x[:, 4] * x[:, 7] - x[:, 5] * x[:, 6]


def weight_normed(v: Tensor, g: Tensor) -> Tensor:
    length: Tensor = v.square().sum(dim=1, keepdim=True) ** 0.5
    return v * g / length


def spectral_normed(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return weight / (u @ weight @ v)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores: Tensor = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp()
    return scores / scores.sum(-1, keepdim=True) @ v


def encoder_formula(p: Mapping[str, Tensor], _: Mapping[str, Tensor], x: Tensor) -> Tensor:
    attended = x @ p["layer.self_attn.in_proj_weight"].T + p["layer.self_attn.in_proj_bias"]
    q, k, v = (part.reshape(len(x), -1, 2, 4).transpose(1, 2) for part in attended.chunk(3, dim=-1))
    joined = attention(q, k, v).transpose(1, 2).flatten(2)
    x = layer_norm(p, "layer.norm1", x + linear(joined, p, "layer.self_attn.out_proj"))
    hidden = linear(x, p, "layer.linear1")
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    x = layer_norm(p, "layer.norm2", x + linear(hidden, p, "layer.linear2"))
    return linear(x.mean(1), p, "head")


def lstm_formula(p: Mapping[str, Tensor], _: Mapping[str, Tensor], x: Tensor) -> Tensor:
    h = c = x.new_zeros(len(x), 4)
    for step in x.unbind(1):
        gates = step @ p["cells.weight_ih_l0"].T + h @ p["cells.weight_hh_l0"].T
        i, f, g, o = (gates + p["cells.bias_ih_l0"] + p["cells.bias_hh_l0"]).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return linear(h, p, "head")


def gru_formula(p: Mapping[str, Tensor], _: Mapping[str, Tensor], x: Tensor) -> Tensor:
    h = x.new_zeros(len(x), 4)
    for step in x.unbind(1):
        ri, zi, ni = (step @ p["cells.weight_ih_l0"].T + p["cells.bias_ih_l0"]).chunk(3, dim=1)
        rh, zh, nh = (h @ p["cells.weight_hh_l0"].T + p["cells.bias_hh_l0"]).chunk(3, dim=1)
        z, n = (zi + zh).sigmoid(), (ni + (ri + rh).sigmoid() * nh).tanh()
        h = (1 - z) * n + z * h
    return linear(h, p, "head")


def instance_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.InstanceNorm2d(4, affine=True),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 9, CLASSES),
    )


def instance_norm_formula(p: Mapping[str, Tensor], _: Mapping[str, Tensor], x: Tensor) -> Tensor:
    x = normalised(F.conv2d(x, p["0.weight"], p["0.bias"]), (2, 3))
    return linear((x * p["1.weight"].view(-1, 1, 1) + p["1.bias"].view(-1, 1, 1)).tanh().flatten(1), p, "4")


FOREIGN = [
    Foreign(
        "layer-norm", lambda: between(nn.LayerNorm(8)), between_formula(lambda p, _, x: layer_norm(p, "1", x))
    ),
    Foreign("instance-norm", instance_norm, instance_norm_formula, (2, 5, 5)),
    Foreign(
        "determinant",
        lambda: between(Do(lambda x: torch.linalg.det(x.view(-1, 2, 2, 2)).sum(1, keepdim=True)), 1),
        between_formula(lambda _, __, x: of_matrix(x)[:, None]),
    ),
    Foreign("encoder", Encoder, encoder_formula, (3, 8)),
    Foreign(
        "attention",
        Attending,
        lambda p, _, x: linear(attention(*linear(x, p, "mixed").chunk(3, dim=-1)).mean(1), p, "head"),
        (3, 8),
    ),
    Foreign("lstm", lambda: Recurrent(nn.LSTM), lstm_formula, (3, 5)),
    Foreign("gru", lambda: Recurrent(nn.GRU), gru_formula, (3, 5)),
    Foreign(
        "weight-norm",
        lambda: between(parametrizations.weight_norm(nn.Linear(8, 8))),
        between_formula(
            lambda p, _, x: (
                x
                @ weight_normed(
                    p["1.parametrizations.weight.original1"], p["1.parametrizations.weight.original0"]
                ).T
                + p["1.bias"]
            )
        ),
    ),
    Foreign(
        "old-weight-norm",
        old_weight_norm,
        between_formula(lambda p, _, x: x @ weight_normed(p["1.weight_v"], p["1.weight_g"]).T + p["1.bias"]),
    ),
    Foreign(
        "spectral-norm",
        lambda: between(parametrizations.spectral_norm(nn.Linear(8, 8))),
        between_formula(
            lambda p, b, x: (
                x
                @ spectral_normed(
                    p["1.parametrizations.weight.original"],
                    b["1.parametrizations.weight.0._u"],
                    b["1.parametrizations.weight.0._v"],
                ).T
                + p["1.bias"]
            )
        ),
    ),
    Foreign(
        "old-spectral-norm",
        lambda: between(nn.utils.spectral_norm(nn.Linear(8, 8))),
        between_formula(
            lambda p, b, x: (
                x @ spectral_normed(p["1.weight_orig"], b["1.weight_u"], b["1.weight_v"]).T + p["1.bias"]
            )
        ),
    ),
    Foreign("function", lambda: between(Do(Cube.apply)), between_formula(lambda _, __, x: x**3)),
    Foreign(
        "checkpoint",
        lambda: nn.Sequential(nn.Linear(5, 8), Checkpointed(), nn.Linear(8, CLASSES)),
        lambda p, _, x: linear(linear(linear(x, p, "0"), p, "1.inner.0").tanh(), p, "2"),
    ),
]
