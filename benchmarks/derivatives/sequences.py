"""Networks for vectors, sequences, sets and graphs, written by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.derivatives.case import CLASSES
from benchmarks.derivatives.hand_written import Apply, Residual


class Encoder(nn.Module):
    """A transformer encoder that classifies a sequence."""

    def __init__(self, *, norm_first: bool, activation: str, causal: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, activation=activation, batch_first=True, norm_first=norm_first
        )
        self.embedding, self.position = nn.Linear(4, 16), nn.Parameter(0.1 * torch.randn(6, 16))
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16))
        self.classes, self.causal = nn.Linear(16, CLASSES), causal

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(6, dtype=x.dtype) if self.causal else None
        tokens = self.encoder(self.embedding(x) + self.position, mask, is_causal=self.causal)
        found: Tensor = self.classes(tokens.mean(1))
        return found


class Translator(nn.Module):
    """nn.Transformer, whose decoder is asked for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.query = nn.Linear(4, 16), nn.Parameter(torch.randn(1, 2, 16))
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
        self.classes = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        asked = self.transformer(self.embedding(x), self.query.expand(len(x), 2, 16))
        found: Tensor = self.classes(asked.flatten(1))
        return found


class Recurrent(nn.Module):
    """A recurrent layer whose last state is classified."""

    def __init__(self, recurrent: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent, self.classes = recurrent, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classes(self.recurrent(x)[0][:, -1])
        return found


def temporal_convolutions() -> nn.Module:
    """Return a temporal convolution network: causal, dilated, weight-normalised."""

    def block(dilation: int) -> nn.Module:
        convolution = parametrizations.weight_norm(nn.Conv1d(8, 8, 3, dilation=dilation))
        return Residual(nn.ConstantPad1d((2 * dilation, 0), 0.0), convolution, nn.ReLU())

    first = nn.Conv1d(4, 8, 1)
    return nn.Sequential(
        Apply(lambda x: x.mT), first, block(1), block(2), Apply(lambda x: x[..., -1]), nn.Linear(8, CLASSES)
    )


class Mixture(nn.Module):
    """A mixture of experts: each example goes to the best two of four."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, CLASSES)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        best, which = self.gate(x).topk(2, -1)
        every = torch.stack([expert(x) for expert in self.experts], 1)
        chosen = every.gather(1, which[..., None].expand(-1, -1, CLASSES))
        found: Tensor = (best.softmax(-1)[..., None] * chosen).sum(1)
        return found


class TiedAutoencoder(nn.Module):
    """A classifier behind an autoencoder whose decoder is its encoder's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.classes = nn.Linear(12, 5), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x).tanh()
        found: Tensor = self.classes(F.linear(code, self.encoder.weight.T).sin())
        return found


class DifferentialEquation(nn.Module):
    """A neural ordinary differential equation, by four Runge-Kutta steps."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 6))
        self.classes = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = 0.25
        for _ in range(4):
            a = self.slope(x)
            b = self.slope(x + h / 2 * a)
            c = self.slope(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + self.slope(x + h * c))
        found: Tensor = self.classes(x)
        return found


class FourierOperator(nn.Module):
    """A Fourier neural operator over a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.skip = nn.Linear(4, 8), nn.Linear(8, 8)
        self.spectrum = nn.Parameter(torch.randn(3, 8, 8, 2) / 8)
        self.classes = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = self.lift(x)
        kept = torch.einsum(
            "btc,tcd->btd", torch.fft.rfft(z, dim=1)[:, :3], torch.view_as_complex(self.spectrum)
        )
        found: Tensor = self.classes(
            F.gelu(torch.fft.irfft(kept, n=z.shape[1], dim=1) + self.skip(z)).mean(1)
        )
        return found


class Hypernetwork(nn.Module):
    """A network that writes the weights of another, for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6 * CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.writer(x).reshape(len(x), 6, CLASSES)
        return torch.einsum("bi,bic->bc", x, weights)


class PointNet(nn.Module):
    """A set of points, each seen alike, of which the largest features count."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(4, 16), nn.ELU(), nn.Linear(16, 16))
        self.classes = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classes(self.points(x).amax(1))
        return found


class GraphConvolution(nn.Module):
    """Two rounds of messages over a ring of six nodes."""

    def __init__(self) -> None:
        super().__init__()
        ring = torch.eye(6) + torch.eye(6).roll(1, 0) + torch.eye(6).roll(-1, 0)
        self.register_buffer("ring", ring / 3)
        self.first, self.second, self.classes = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.ring @ self.first(x))
        found: Tensor = self.classes((self.ring @ self.second(z)).mean(1))
        return found


class Perceiver(nn.Module):
    """Latent vectors that attend to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.embedding = nn.Parameter(torch.randn(3, 8)), nn.Linear(4, 8)
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.classes = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.embedding(x))
        found, _ = self.attention(self.latent.expand(len(x), 3, 8), tokens, tokens, need_weights=False)
        logits: Tensor = self.classes(found.flatten(1))
        return logits


class Dictionary(nn.Module):
    """A model whose output is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.classes(x)}


class Auxiliary(nn.Module):
    """A network with an auxiliary head, whose output is a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.main, self.auxiliary = nn.Linear(6, 8), nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.tanh(self.inner(x))
        return self.main(z), self.auxiliary(z)
