"""R2T2's attackers in closed form: level 2, the influence function and optimal contraction."""

from dataclasses import dataclass

from midstream.attacks.along_gradient import GradientAttacker
from midstream.players.r2t2.followed import FollowsContraction, FollowsInfluence, FollowsLevel2
from midstream.players.r2t2.inverse_hessian import InverseHessian, check_learning_rate


@dataclass(kw_only=True)
class Level2ClosedForm(FollowsLevel2, GradientAttacker):
    """`δ* = -e(B_x [v - η H Σ_j ∇θ L(x_j)])`: the limit ε → 0 (Theorem 2, Corollary 3; Table 1: level 2)."""

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program; see `midstream.players.fixed`."""
        return self.goal == "untargeted"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learning_rate(self.learning_rate)


@dataclass(kw_only=True)
class Influence(FollowsInfluence, GradientAttacker):
    """`δ* = -e(B_x H⁻¹ v)`: the influence function (IF, eq. 8; Table 1: level 2)."""

    def __post_init__(self) -> None:
        InverseHessian.__post_init__(self)
        GradientAttacker.__post_init__(self)


@dataclass(kw_only=True)
class OptimalContraction(FollowsContraction, Influence):
    """`δ* = -e(B_x [H⁻¹ v - η Σ_j ∇θ L(x_j)])`: optimal contraction (Corollary 1; Table 1: level 2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learning_rate(self.learning_rate)
