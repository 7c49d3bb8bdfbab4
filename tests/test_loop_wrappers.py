"""The defender of a model that is compiled, sharded, or returns more than its logits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from midstream import Defender, DerivativeError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 5))


def data(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % 5


@pytest.fixture
def corrected() -> Iterator[Tensor]:
    with torch.random.fork_rng():
        yield Defender(network(), *data(20), epsilon=0.2)(*data(6))


def whole(model: nn.Sequential) -> Any:
    return torch.compile(model, backend="aot_eager")


def in_place(model: nn.Sequential) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def a_part(model: nn.Sequential) -> nn.Module:
    part: Any = torch.compile(model[:4], backend="aot_eager")
    return nn.Sequential(part, model[4])


@pytest.mark.parametrize("compiled", [whole, in_place, a_part])
def test_a_compiled_model_is_corrected_as_its_original_is(
    compiled: Callable[[nn.Sequential], nn.Module], corrected: Tensor
) -> None:
    original = network()
    parameters = list(original.parameters())
    model = compiled(original)
    defender = Defender(model, *data(20), epsilon=0.2)
    held = list(defender.model.parameters())
    assert [id(p) for p in held] == [id(p) for p in parameters]
    assert torch.equal(defender(*data(6)), corrected)
    for parameter in parameters:  # as an optimizer's step does
        parameter.data.mul_(-2)
    assert not torch.allclose(defender(*data(6)), corrected, atol=1e-2)


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
def test_sharded_parameters_are_refused_at_once() -> None:
    cpu = torch.device("cpu")
    with pytest.warns(UserWarning, match="world size is 1"):
        whole = FullyShardedDataParallel(network(), device_id=cpu)
    a_layer = network()
    fully_shard(a_layer[1], mesh=init_device_mesh("cpu", (1,)))
    for model, what in ((whole, "the model is sharded"), (a_layer, "layer '1' is sharded")):
        with pytest.raises(DerivativeError, match=f"{what} by FSDP.*Train with DistributedDataParallel"):
            Defender(model, *data(20), epsilon=0.2)


@pytest.mark.usefixtures("one_rank")
def test_one_rank_of_data_parallelism_is_the_network_itself(corrected: Tensor) -> None:
    model = network()
    wrapper = nn.parallel.DistributedDataParallel(model)
    calls: list[nn.Module] = []
    wrapper.register_forward_pre_hook(lambda module, _: calls.append(module))
    defender = Defender(wrapper, *data(20), epsilon=0.2)
    assert defender.model is model
    assert torch.equal(defender(*data(6)), corrected)
    assert calls == []
    assert all(parameter.grad is None for parameter in model.parameters())


class Named(nn.Module):
    """Returns what the models of the library transformers do, and takes what they take."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, mask: Tensor | None = None
    ) -> SimpleNamespace:
        assert labels is None
        assert mask is None
        return SimpleNamespace(loss=None, logits=self.network(pixel_values))


def as_batch(count: int) -> dict[str, Any]:
    x, y = data(count)
    return {"pixel_values": x, "labels": y, "names": [*map(str, range(count))]}


def test_outputs_with_logits_beside_other_things(corrected: Tensor) -> None:
    assert torch.equal(Defender(Named(), *data(20), epsilon=0.2)(*data(6)), corrected)


ENTRIES = ("pixel_values", "labels")


@pytest.mark.parametrize("model", [Named, network])
def test_a_batch_may_be_a_dictionary(model: Callable[[], nn.Module], corrected: Tensor) -> None:
    defender = Defender(model(), *data(20), epsilon=0.2, entries=ENTRIES)
    batch = as_batch(6)
    before = batch["pixel_values"].clone()
    found = defender(batch)
    assert list(found) == list(batch)
    assert torch.equal(found["pixel_values"], corrected)
    assert found["labels"] is batch["labels"]
    assert found["names"] is batch["names"]
    assert torch.equal(batch["pixel_values"], before)


def test_a_dictionary_that_says_too_little_or_too_much_is_refused() -> None:
    defender = Defender(Named(), *data(20), epsilon=0.2, entries=ENTRIES)
    with pytest.raises(ValueError, match="an entry 'mask', which Named takes beside 'pixel_values'"):
        defender({**as_batch(6), "mask": torch.ones(6)})
    with pytest.raises(ValueError, match="no entry 'labels', only 'pixel_values'"):
        defender({"pixel_values": data(6)[0]})
    with pytest.raises(ValueError, match=r"say which are the inputs.*entries="):
        Defender(Named(), *data(20), epsilon=0.2)(as_batch(6))
    with pytest.raises(ValueError, match="entries name 'x' twice"):
        Defender(Named(), *data(20), epsilon=0.2, entries=("x", "x"))
    with pytest.raises(TypeError, match="give the labels"):
        defender(data(6)[0])  # type: ignore[call-overload]
