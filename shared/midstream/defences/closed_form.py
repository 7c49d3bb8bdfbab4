"""R2T2's defenders in closed form: level 2, the influence function and optimal contraction."""

from dataclasses import dataclass

from midstream.defences.along_gradient import GradientDefender
from midstream.players.r2t2.followed import FollowsContraction, FollowsInfluence, FollowsLevel2
from midstream.players.r2t2.inverse_hessian import check_learning_rate


@dataclass(kw_only=True)
class Level2ClosedForm(FollowsLevel2, GradientDefender):
    """`σ = e(B_x' [v - η H Σ_j ∇θ L(x'_j)])`: the limit ε → 0 (Theorem 2, Corollary 3; Table 1: level 2)."""

    fixed = True

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)


@dataclass(kw_only=True)
class Influence(FollowsInfluence, GradientDefender):
    """`σ = e(B_x' H⁻¹ v)`: the influence function (IF, eq. 8; Table 1: level 2)."""


@dataclass(kw_only=True)
class OptimalContraction(FollowsContraction, GradientDefender):
    """`σ = e(B_x' [H⁻¹ v - η Σ_j ∇θ L(x'_j)])`: optimal contraction (Corollary 1; Table 1: level 2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learning_rate(self.learning_rate)
