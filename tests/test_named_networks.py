"""The networks that people train, by name: sizes, norms, refusals, weights of a file, frozen layers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from midstream import plugins
from midstream.command.games.plugin_files import plugin_files
from midstream.plugins import PluginError, permitted
from midstream.protocol.specification import Specification
from midstream.run.models import build_model

CIFAR = (3, 32, 32)

PARAMETERS = {
    "resnet18": 11_173_962,
    "resnet18,norm=group": 11_173_962,
    "wide-resnet": 2_748_890,
    "vit-tiny": 5_362_762,
    "convnext-tiny": 27_824_362,
    "mlp": 855_050,
}


def built(text: str, shape: tuple[int, ...] = CIFAR, classes: int = 10, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(text, shape, classes, batch_norm="training")


def layers(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize(("text", "count"), PARAMETERS.items())
def test_the_number_of_parameters(text: str, count: int) -> None:
    name, options = plugins.parse(text)
    with torch.device("meta"):
        model = plugins.find("models", name)(CIFAR, 10, **options)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    "text",
    [
        "resnet18,width=8",
        "resnet18,width=8,stem=large",
        "wide-resnet,depth=10,width=1",
        "vit-tiny,width=24,depth=2",
        "convnext-tiny,width=8,shrink=3",
        "mlp,hidden=16",
        "mlp,hidden=16,norm=batch,dropout=0.1",
    ],
)
@pytest.mark.parametrize("shape", [(1, 16, 16), CIFAR, (3, 64, 64)])
def test_one_logit_for_each_class_of_images_of_any_size(text: str, shape: tuple[int, ...]) -> None:
    assert built(text, shape, 7).eval()(torch.rand(2, *shape)).shape == (2, 7)


def test_the_stem_of_a_resnet_follows_the_size_of_its_images() -> None:
    strides = {
        side: built("resnet18,width=8", (3, side, side)).get_submodule("conv1").stride for side in (32, 96)
    }
    assert strides == {32: (1, 1), 96: (2, 2)}


def test_a_norm_is_over_the_batch_or_over_groups() -> None:
    for text, count in (("resnet18,width=8", 20), ("wide-resnet,depth=10,width=1", 7)):
        assert len(layers(built(text), nn.BatchNorm2d)) == count
        grouped = built(f"{text},norm=group")
        assert len(layers(grouped, nn.GroupNorm)) == count
        assert not layers(grouped, nn.BatchNorm2d)


def test_a_resnet_takes_the_weights_of_torchvisions() -> None:
    theirs = pytest.importorskip("torchvision").models.resnet18(num_classes=10)
    ours = built("resnet18,stem=large").eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("wide-resnet,depth=12", CIFAR, "depth must be 10, 16, 22"),
        ("vit-tiny,patch=5", CIFAR, "do not tile"),
        ("vit-tiny,heads=5", CIFAR, "multiple of heads"),
        ("convnext-tiny", (3, 8, 8), "need images of 16 pixels"),
        ("mlp,layers=0", CIFAR, "at least 1"),
        ("resnet18,norm=layer", CIFAR, "norm"),
        ("torchvision:resnet18", (1, 28, 28), "take 3 channels"),
        ("torchvision:resnet19", CIFAR, "torchvision has no classifier 'resnet19'; it has alexnet"),
        ("resnet19", CIFAR, "did you mean 'resnet18'.* Or write torchvision:NAME"),
    ],
)
def test_what_cannot_be_built_is_refused(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        built(text, shape)


def test_torchvisions_networks_are_made_for_the_data() -> None:
    pytest.importorskip("torchvision")
    for name in ("resnet18", "squeezenet1_1"):
        model = plugins.find("models", f"torchvision:{name}", allowed=[])(CIFAR, 7)
        assert model.eval()(torch.rand(2, *CIFAR)).shape == (2, 7)
    with torch.device("meta"):
        vit = plugins.find("models", "torchvision:vit_b_16")(CIFAR, 7)
        assert vit(torch.rand(2, *CIFAR)).shape == (2, 7)
        assert len(plugins.find("models", "torchvision:googlenet")(CIFAR, 7)(torch.rand(2, *CIFAR))) == 2


def test_timms_networks_are_made_for_the_data() -> None:
    pytest.importorskip("timm")
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        model = plugins.find("models", f"timm:{name}")((1, 32, 32), 7)
        assert model.eval()(torch.rand(2, 1, 32, 32)).shape == (2, 7)
    with pytest.raises(PluginError, match="timm has no network 'resnet10'; similar names are"):
        plugins.find("models", "timm:resnet10")


SMALL = "resnet18,width=8"


def named(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def test_weights_are_read_from_a_file(tmp_path: Path) -> None:
    theirs, plain = named(built(SMALL, seed=1)), named(built(SMALL))
    wrapped = {f"module.{name}": value for name, value in theirs.items()}
    save_file({name: value.contiguous() for name, value in theirs.items()}, tmp_path / "three.safetensors")
    files = [
        saved(theirs, tmp_path / "one.pt"),
        saved({"epoch": 3, "state_dict": wrapped}, tmp_path / "two.pt"),
        tmp_path / "three.safetensors",
    ]
    for file in files:
        found = named(built(f"{SMALL},weights={file}"))
        assert all(torch.equal(value, theirs[name]) for name, value in found.items())
        assert not torch.equal(found["fc.weight"], plain["fc.weight"])


def test_weights_for_other_classes_leave_the_last_layer_as_drawn(tmp_path: Path) -> None:
    theirs = named(built(SMALL, classes=100, seed=1))
    found = named(built(f"{SMALL},weights={saved(theirs, tmp_path / 'hundred.pt')}"))
    assert torch.equal(found["layer4.1.conv2.weight"], theirs["layer4.1.conv2.weight"])
    assert torch.equal(found["fc.weight"], named(built(SMALL))["fc.weight"])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"do not fit the model: conv1.weight, bn1.weight, .* missing"):
        built(f"resnet18,width=16,weights={saved(named(built(SMALL)), tmp_path / 'narrow.pt')}")
    with pytest.raises(PluginError, match=r"do not fit the model: 1.weight, 1.bias missing or of another"):
        built(f"logistic,weights={saved(named(built(SMALL)), tmp_path / 'deep.pt')}")
    with pytest.raises(PluginError, match="cannot be read"):
        built(f"{SMALL},weights={tmp_path / 'none.pt'}")
    with pytest.raises(PluginError, match="holds no tensors by name"):
        built(f"{SMALL},weights={saved([1, 2], tmp_path / 'list.pt')}")


@pytest.mark.parametrize("content", [b"", b"weights", b"hello world", b"\x80\x02."])
def test_a_file_that_is_no_state_is_refused_in_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_bytes(content)
    with pytest.raises(PluginError, match=r"cannot be read: .* damaged.* save model.state_dict\(\)$"):
        built(f"{SMALL},weights={tmp_path / 'text.pt'}")


class Touches:
    """An object whose unpickling makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_an_object_in_a_file_of_weights_is_not_loaded(tmp_path: Path) -> None:
    file = saved({"fc.weight": Touches(tmp_path / "touched")}, tmp_path / "hostile.pt")
    with pytest.raises(PluginError, match="objects other than tensors, which are never loaded") as refused:
        built(f"{SMALL},weights={file}")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "touched").exists()


def test_a_peer_cannot_have_a_file_read(tmp_path: Path) -> None:
    file = str(saved(named(built(SMALL)), tmp_path / "ours.pt"))
    text = f"{SMALL},weights={file}"
    with pytest.raises(PluginError, match=f"start it with --allow {file}"):
        build_model(text, CIFAR, 10, batch_norm="training", allowed=[])
    build_model(text, CIFAR, 10, batch_norm="training", allowed=permitted(text))


def test_other_weights_are_another_game(tmp_path: Path) -> None:
    file = tmp_path / "ours.pt"
    specification = Specification.model_validate({"dataset": "digits", "model": f"mlp,weights={file}"})
    digests = []
    for text in ("one", "other"):
        file.write_text(text)
        digests.append(plugin_files(specification, "none")[str(file)])
    assert digests[0] != digests[1]


def test_only_the_layers_named_are_trained() -> None:
    model = built(f"{SMALL},trained=layer4.1+fc")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[0] for name in trained} == {
        *(f"layer4.1.{name}" for name in ("conv1", "bn1", "conv2", "bn2")),
        "fc",
    }
    norms = {name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert {name for name in norms if model.get_submodule(name).training} == {"layer4.1.bn1", "layer4.1.bn2"}
    assert model.training


def test_a_frozen_network_with_batch_norm_needs_no_option_for_it() -> None:
    model = build_model(f"{SMALL},trained=fc", CIFAR, 10)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    with pytest.raises(PluginError, match="no layer 'head' to train; it has conv1, bn1, maxpool"):
        built(f"{SMALL},trained=head")
