"""The defender in a loop that trains under autocast, with a scaled loss."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream import Defender

DTYPES = {"cpu": torch.bfloat16, "cuda": torch.float16}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield request.param


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    )


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.Sequential(nn.Flatten(1, 2), layer, nn.Flatten(), nn.Linear(64, 10))


NETWORKS = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), convolutions(), attention()]


def data(device: str, count: int) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 8, 8).to(device), (torch.arange(count) % 10).to(device)


def gradient_of(
    model: nn.Module, inputs: Tensor, labels: Tensor, device: str, defender: Defender | None
) -> list[Tensor]:
    """Return the gradient of a step under autocast, where the defender may be called, too, for nothing."""
    model.zero_grad()
    with torch.autocast(device, dtype=DTYPES[device]):
        if defender is not None:
            defender(inputs, labels)
        loss = F.cross_entropy(model(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in model.parameters()]
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("network", NETWORKS, ids=["linear", "batch norm", "attention"])
def test_under_autocast_the_derivatives_have_the_precision_of_the_parameters(
    network: nn.Module, device: str
) -> None:
    model = network.to(device)
    defender, (x, y) = Defender(model, *data(device, 20), epsilon=0.5), data(device, 12)
    expected = defender(x, y)
    for first in (defender, Defender(model, *data(device, 20), epsilon=0.5)):  # a first call checks, too
        with torch.autocast(device, dtype=DTYPES[device]):
            corrected = first(x, y)
            rounded = model(x).dtype
        assert rounded == DTYPES[device]
        assert corrected.dtype == torch.float32
        assert torch.isfinite(corrected).all()
        if first is defender:
            assert torch.equal(corrected, expected)


@pytest.mark.parametrize("network", NETWORKS, ids=["linear", "batch norm", "attention"])
def test_a_call_inside_autocast_leaves_the_steps_gradient_as_it_is(network: nn.Module, device: str) -> None:
    model = network.to(device)
    defender, (x, y) = Defender(model, *data(device, 20), epsilon=0.5), data(device, 12)
    without = gradient_of(model, x, y, device, None)
    with_it = gradient_of(model, x, y, device, defender)
    assert len(with_it) == len(list(model.parameters()))  # autocast keeps cast weights, with their graphs
    assert all(map(torch.equal, with_it, without))


def trained(device: str, scale: float) -> Tensor:
    """Return what the defender returned in three steps whose losses are scaled."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(device)
    defender, (x, y) = Defender(model, *data(device, 20), epsilon=0.5), data(device, 12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler(device, init_scale=scale)
    seen = []
    for _ in range(3):
        with torch.autocast(device, dtype=DTYPES[device]):
            seen.append(defender(x, y))
            loss = F.cross_entropy(model(seen[-1]), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
    return torch.stack(seen)


def test_the_scale_of_the_loss_does_not_reach_the_defender(device: str) -> None:
    plain, scaled = (trained(device, scale) for scale in (1.0, 2.0**12))
    assert not torch.equal(plain[0], plain[2])
    assert torch.allclose(plain, scaled, atol=1e-6)  # a power of two scales without rounding


class Casting(nn.Module):
    """A network whose forward casts by itself, as with `DataParallel`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            outputs = self.network(x)
        return outputs


def test_a_network_that_casts_by_itself_is_differentiated_as_it_computes(device: str) -> None:
    model = NETWORKS[0].to(device)
    trusted, (x, y) = data(device, 20), data(device, 12)
    move, cast = ((Defender(m, *trusted, epsilon=0.05)(x, y) - x).flatten(1) for m in (model, Casting(model)))
    assert not torch.equal(move, cast)
    assert F.cosine_similarity(move, cast).min() > 0.95
