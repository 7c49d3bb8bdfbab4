"""Attention, recurrence, embeddings."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.derivatives.around import functions, layers


def by_hand(z: Tensor) -> Tensor:
    return (z @ z.sin().mT / 8**0.5).softmax(-1) @ z.cos()


def scaled(z: Tensor, **options: Any) -> Tensor:
    """Attend with the two halves of each vector as two heads."""
    heads = z.reshape(*z.shape[:2], 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads.sin(), heads.cos(), **options).transpose(1, 2)


def masked(z: Tensor) -> Tensor:
    return scaled(z, attn_mask=(torch.arange(5) <= 3).expand(5, 5))


def biased(z: Tensor) -> Tensor:
    return scaled(z, attn_mask=z.mean(-1)[:, None, None, :].expand(-1, 2, 5, 5))


def grouped(z: Tensor) -> Tensor:
    heads = z.reshape(*z.shape[:2], 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads[:, :1].sin(), heads[:, :1].cos(), enable_gqa=True)


class Attended(nn.Module):
    """Self-attention by torch's own layer."""

    def __init__(self, *, weights: bool = False, padding: bool = False, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.weights, self.padding = weights, padding

    def forward(self, z: Tensor) -> Tensor:
        mask = (torch.arange(5) > 3).expand(len(z), 5) if self.padding else None
        found: Tensor = self.attention(z, z, z, key_padding_mask=mask, need_weights=self.weights)[0]
        return found


class Decoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.decoder(z, z.sin())
        return found


class First(nn.Module):
    """The outputs of a recurrent layer without its last state."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.recurrent(z)[0]
        return found


class Packed(nn.Module):
    """An LSTM over the first four of five instants."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(8, 4, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        lengths = torch.full((len(z),), 4)
        packed = nn.utils.rnn.pack_padded_sequence(z, lengths, batch_first=True)
        found: Tensor = self.recurrent(packed)[1][0].transpose(0, 1)
        return found


class Steps(nn.Module):
    """A recurrent cell, stepped by hand."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, z: Tensor) -> Tensor:
        state: Any = None
        for part in z.unbind(1):
            state = self.cell(part, state)
        found: Tensor = state[0] if isinstance(state, tuple) else state
        return found


class Sentences(nn.Module):
    """A bag of words: its inputs are numbers of words, which have no derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.classes = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classes(self.words(x).mean(1).tanh())
        return found


def words(batch: int) -> Tensor:
    return torch.arange(batch * 6).remainder(20).reshape(batch, 6)


ATTENTION = [
    *functions(
        "sequence",
        {
            "attention by hand": by_hand,
            "scaled_dot_product_attention": scaled,
            "scaled_dot_product_attention, causal": lambda z: scaled(z, is_causal=True),
            "scaled_dot_product_attention, masked": masked,
            "scaled_dot_product_attention, biased": biased,
            "scaled_dot_product_attention, grouped": grouped,
        },
        group="layer",
    ),
    *layers(
        "sequence",
        {
            "MultiheadAttention": Attended,
            "MultiheadAttention with weights": lambda: Attended(weights=True),
            "MultiheadAttention, padded": lambda: Attended(padding=True),
            "MultiheadAttention, bias_kv": lambda: Attended(add_bias_kv=True),
            "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            "TransformerDecoderLayer": Decoded,
        },
        group="layer",
    ),
]

RECURRENCE = [
    *layers(
        "sequence",
        {
            "RNN": lambda: First(nn.RNN(8, 4, batch_first=True)),
            "RNN, ReLU": lambda: First(nn.RNN(8, 4, nonlinearity="relu", batch_first=True)),
            "LSTM": lambda: First(nn.LSTM(8, 4, batch_first=True)),
            "LSTM, two layers, both ways": lambda: First(
                nn.LSTM(8, 4, 2, batch_first=True, bidirectional=True)
            ),
            "LSTM, projected": lambda: First(nn.LSTM(8, 4, batch_first=True, proj_size=3)),
            "LSTM, packed": Packed,
            "GRU": lambda: First(nn.GRU(8, 4, batch_first=True)),
            "GRU, two layers, both ways": lambda: First(
                nn.GRU(8, 4, 2, batch_first=True, bidirectional=True)
            ),
        },
        group="layer",
    ),
    *layers(
        "sequence",
        {
            "RNNCell": lambda: Steps(nn.RNNCell(8, 4)),
            "LSTMCell": lambda: Steps(nn.LSTMCell(8, 4)),
            "GRUCell": lambda: Steps(nn.GRUCell(8, 4)),
        },
    ),
]
