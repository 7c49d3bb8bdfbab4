"""Products, decompositions and distances."""

import torch
from torch import Tensor, nn

from benchmarks.derivatives.around import functions, invertible, layer, symmetric


def singular_vectors(z: Tensor) -> Tensor:
    u, s, vh = torch.linalg.svd(invertible(z))
    found: Tensor = (
        u[..., :1] * s[..., None, :1].sin() @ vh[..., :1, :]
    )  # a product that no choice of signs changes
    return found


def eigenvectors(z: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetric(z))
    found: Tensor = vectors[..., :, :1] * values[..., None, :1].sin() @ vectors[..., :, :1].mT
    return found


def triangular(z: Tensor) -> Tensor:
    found: Tensor = torch.linalg.solve_triangular(invertible(z).tril(), z.sin(), upper=False)
    return found


def least_squares(z: Tensor) -> Tensor:
    found: Tensor = torch.linalg.lstsq(invertible(z)[..., :2], z.sin()[..., :1]).solution
    return found


def factors(z: Tensor) -> Tensor:
    _, lower, upper = torch.linalg.lu(invertible(z))
    found: Tensor = lower.sin() + upper
    return found


def orthogonal(z: Tensor) -> Tensor:
    q, r = torch.linalg.qr(invertible(z))
    found: Tensor = q + r
    return found


LINEAR_ALGEBRA = [
    *functions(
        "matrix",
        {
            "cholesky_inverse": lambda z: torch.cholesky_inverse(torch.linalg.cholesky(symmetric(z))),
        },
        refused="second derivatives",  # torch's rules for it are wrong in every order
    ),
    *functions(
        "matrix",
        {
            "matmul": lambda z: z @ z.sin(),
            "bmm": lambda z: torch.bmm(z, z.mT),
            "baddbmm": lambda z: torch.baddbmm(z, z, z.sin()),
            "einsum": lambda z: torch.einsum("bij,bjk,bik->bi", z, z.sin(), z),
            "tensordot": lambda z: (
                z.sin() * torch.tensordot(z.square(), torch.ones(4, 4, dtype=z.dtype), dims=1)
            ),
            "multi_dot": lambda z: torch.stack([torch.linalg.multi_dot([m, m.sin(), m]) for m in z]),
            "kron": lambda z: torch.stack([torch.kron(m, m.sin()) for m in z]),
            "cross": lambda z: torch.linalg.cross(z[..., :3], z.sin()[..., 1:]),
            "trace": lambda z: z * torch.einsum("bii->b", z @ z)[:, None, None],
            "det": lambda z: torch.linalg.det(invertible(z))[:, None],
            "slogdet": lambda z: torch.linalg.slogdet(invertible(z)).logabsdet[:, None],
            "logdet": lambda z: torch.logdet(symmetric(z))[:, None],
            "inv": lambda z: torch.linalg.inv(invertible(z)),
            "pinv": lambda z: torch.linalg.pinv(invertible(z)[..., :2]),
            "solve": lambda z: torch.linalg.solve(invertible(z), z.sin()),
            "solve_triangular": triangular,
            "lstsq": least_squares,
            "cholesky": lambda z: torch.linalg.cholesky(symmetric(z)),
            "cholesky_solve": lambda z: torch.cholesky_solve(z.sin(), torch.linalg.cholesky(symmetric(z))),
            "lu": factors,
            "qr": orthogonal,
            "svdvals": lambda z: torch.linalg.svdvals(invertible(z)),
            "svd": singular_vectors,
            "eigvalsh": lambda z: torch.linalg.eigvalsh(symmetric(z)),
            "eigh": eigenvectors,
            "eigvals": lambda z: torch.linalg.eigvals(invertible(0.3 * z)).abs(),
            "matrix_exp": torch.linalg.matrix_exp,
            "matrix_power": lambda z: torch.linalg.matrix_power(z, 3),
            "householder_product": lambda z: torch.linalg.householder_product(z, z[..., 0, :].sin()),
            "norm, Frobenius": lambda z: torch.linalg.matrix_norm(z)[:, None],
            "norm, nuclear": lambda z: torch.linalg.matrix_norm(invertible(z), "nuc")[:, None],
            "norm, spectral": lambda z: torch.linalg.matrix_norm(invertible(z), 2)[:, None],
            "vector_norm, p = 3": lambda z: torch.linalg.vector_norm(z, 3, dim=-1),
            "vector_norm, largest": lambda z: torch.linalg.vector_norm(z, float("inf"), dim=-1),
            "renorm": lambda z: torch.renorm(z.sin(), 2, 0, 0.3),
        },
    ),
    *functions(
        "sequence",
        {
            "cdist, p = 2": lambda z: torch.cdist(z, z.sin() + 1),
            "cdist, p = 1": lambda z: torch.cdist(z, z.sin() + 1, p=1.0),
            "cdist, p = 3": lambda z: torch.cdist(z, z.sin() + 1, p=3.0),
            "cdist, by products": lambda z: torch.cdist(
                z, z.sin() + 1, compute_mode="use_mm_for_euclid_dist"
            ),
            "pdist": lambda z: torch.stack([nn.functional.pdist(part) for part in z]),
            "pairwise_distance": lambda z: nn.functional.pairwise_distance(z, z.flip(1).sin() + 1),
        },
    ),
    layer("vector", "Bilinear", lambda: _Bilinear()),
]


class _Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Bilinear(8, 8, 4)

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.product(z, z.sin())
        return found
