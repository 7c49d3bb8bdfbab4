"""Reductions, sorting, indexing, Fourier transforms."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.derivatives.around import functions, positive, unit

_WHERE = torch.tensor([3, 0, 7, 7, 1])
_EVEN = torch.arange(8) % 2 == 0


def along(z: Tensor) -> Tensor:
    return _WHERE.expand(len(z), 5)


def in_place(z: Tensor) -> Tensor:
    factor = z[:, :3].cos()
    z = z.sin()
    z[:, 5:] *= factor
    return z.mul_(2).exp_()


def bags(z: Tensor) -> Tensor:
    """Sum rows of a table that depends on the input, weighted by the input."""
    rows = torch.arange(8).reshape(2, 4)
    table = torch.outer(torch.arange(1.0, 9.0, dtype=z.dtype).sin(), torch.ones(3, dtype=z.dtype))
    return torch.stack(
        [
            F.embedding_bag(
                rows, table * part[:, None], per_sample_weights=part.sin().reshape(2, 4), mode="sum"
            )
            for part in z
        ]
    )


def spectrogram(z: Tensor) -> Tensor:
    window = torch.hann_window(4, dtype=z.dtype)
    found = torch.stft(z.flatten(1), 4, 2, window=window, return_complex=True)
    return found.abs().square()


REDUCTIONS = functions(
    "vector",
    {
        "sum": lambda z: z.square().sum(-1, keepdim=True),
        "mean": lambda z: z.sin().mean(-1, keepdim=True),
        "prod": lambda z: positive(z).prod(-1, keepdim=True),
        "logsumexp": lambda z: torch.logsumexp(z, -1, keepdim=True),
        "cumsum": lambda z: z.sin().cumsum(-1),
        "cumprod": lambda z: positive(z).cumprod(-1),
        "logcumsumexp": lambda z: z.logcumsumexp(-1),
        "cummax": lambda z: z.sin().cummax(-1).values,
        "trapezoid": lambda z: torch.trapezoid(z.sin(), unit(z).cumsum(-1))[:, None],
        "diff": lambda z: z.sin().diff(dim=-1),
        "amax": lambda z: z.sin().reshape(-1, 4, 2).amax(-1),
        "max": lambda z: z.sin().reshape(-1, 4, 2).max(-1).values,
        "median": lambda z: z.sin().median(-1, keepdim=True).values * z,
        "kthvalue": lambda z: z.sin().kthvalue(3, -1, keepdim=True).values * z,
        "quantile": lambda z: z.sin().quantile(0.4, dim=-1)[:, None] * z,
        "mode": lambda z: z.sin().mode(-1, keepdim=True).values * z,
        "nansum": lambda z: z.sin().nansum(-1, keepdim=True),
    },
)

INDEXING = functions(
    "vector",
    {
        "sort": lambda z: z.sin().sort(-1).values,
        "topk": lambda z: z.sin().topk(3, -1).values,
        "gather": lambda z: z.sin().gather(-1, along(z)),
        "take_along_dim": lambda z: torch.take_along_dim(z.sin(), z.argsort(-1), -1),
        "scatter": lambda z: torch.zeros_like(z).scatter(-1, along(z)[:, :2], z.sin()[:, :2]),
        "scatter_add": lambda z: z.scatter_add(-1, along(z), z.sin()[:, :5]),
        "scatter_reduce, mean": lambda z: z.scatter_reduce(-1, along(z), z.sin()[:, :5], "mean"),
        "scatter_reduce, amax": lambda z: z.scatter_reduce(-1, along(z), z.sin()[:, :5], "amax"),
        "index_add": lambda z: z.index_add(-1, _WHERE, z.sin()[:, :5]),
        "index_copy": lambda z: z.index_copy(-1, _WHERE[:3], z.sin()[:, :3]),
        "index_select": lambda z: z.sin().index_select(-1, _WHERE),
        "index_fill": lambda z: z.sin().index_fill(-1, _WHERE, 0.5),
        "index_put": lambda z: z.sin().index_put((torch.arange(len(z)), torch.tensor(2)), z[:, 3].exp()),
        "masked_fill": lambda z: z.sin().masked_fill(z > 0.1, 0.5),
        "masked_scatter": lambda z: torch.stack([row.masked_scatter(_EVEN, row.sin()) for row in z]),
        "index by booleans": lambda z: z.sin()[:, torch.arange(8) % 3 == 0],
        "slices written in place": in_place,
        "flip and roll": lambda z: z.flip(-1).sin().roll(2, -1),
        "repeat_interleave": lambda z: z.sin().repeat_interleave(2, -1),
        "cat and stack": lambda z: torch.stack([torch.cat([z, z.sin()], -1)] * 2, 1),
        "diag_embed": lambda z: z.sin().diag_embed(),
        "tril": lambda z: (z[:, :, None] * z.sin()[:, None]).tril(),
        "unfold": lambda z: z.sin().unfold(-1, 3, 2),
        "as_strided": lambda z: z.sin().contiguous().as_strided((len(z), 4, 2), (8, 1, 3)),
        "cartesian by broadcasting": lambda z: z[:, :, None] * z.sin()[:, None, :],
    },
)

# Torch's rules for these are wrong or missing in every order.
INDEXING += functions(
    "vector",
    {
        "scatter_reduce, prod": lambda z: positive(z).scatter_reduce(
            -1, along(z), positive(z)[:, :5], "prod"
        ),
        "embedding_bag, weighted": bags,
    },
    refused="second derivatives",
)

FOURIER = [
    *functions(
        "vector",
        {
            "rfft": lambda z: torch.view_as_real(torch.fft.rfft(z.sin())),
            "fft, absolute value": lambda z: torch.fft.fft(z).abs(),
            "fft, angle": lambda z: torch.fft.fft(z + torch.arange(8) ** 2)[:, 1:4].angle(),
            "irfft": lambda z: torch.fft.irfft(torch.fft.rfft(z).square()),
            "complex product": lambda z: (torch.complex(z, z.sin()) * torch.complex(z.cos(), z)).abs(),
            "polar": lambda z: torch.view_as_real(torch.polar(positive(z), z)),
            "view_as_complex": lambda z: torch.view_as_complex(z.reshape(-1, 4, 2)).exp().imag,
            "stft": spectrogram,
        },
    ),
    *functions("image", {"fft2": lambda z: torch.fft.fft2(z).abs().square() / 64}),
]
