"""Options that every model takes: weights from a file, and the layers that are trained.

`resnet18,weights=ours.pt,trained=layer4+fc` begins from a file's weights and trains two of the layers.
"""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from midstream import plugins
from midstream.plugins import PluginError
from midstream.protocol.wire import WireError, decode_tensors

OPTIONS = ("weights", "trained")
"""A model's own option of the same name takes precedence."""

_INSIDE = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts save a state."""

_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What wrappers put before the names of parameters."""


@dataclass(frozen=True)
class FineTuning:
    """Where a model's weights come from, and which layers are trained.

    Attributes:
        weights: a file of `torch.save` or safetensors that holds a state by name; None draws the weights.
        trained: the layers that are trained, joined by plus signs; None trains all.
    """

    weights: Path | None = None
    trained: str | None = None

    def apply(self, model: nn.Module) -> None:
        """Load the weights, and freeze the layers that are not trained.

        Tensors of the last layer that have another shape, or are missing, are left as drawn: a file for other
        classes fits everywhere else. A frozen layer is in evaluation mode in a training step, too: its batch
        norm keeps its statistics, and its dropout drops nothing.

        Raises:
            PluginError: the file cannot be read or does not fit, or there is no layer of a name.
        """
        if self.weights is not None:
            _load(model, self.weights)
        if self.trained is not None:
            _freeze(model, self.trained.split("+"))


def separated(text: str, *, allowed: Collection[str] | None = None) -> tuple[str, FineTuning]:
    """Return a model's text without these options, and the options.

    Args:
        text: a name and its options, as `resnet18,trained=fc`.
        allowed: what may be loaded if the text arrived over a network; None allows all.

    Raises:
        PluginError: the file of weights is not allowed, or there is no such model.

    >>> separated("mnist-cnn,dropout=0.2,trained=5+7")
    ('mnist-cnn,dropout=0.2', FineTuning(weights=None, trained='5+7'))
    """
    name, options = plugins.parse(text)
    if not options.keys() & set(OPTIONS):
        return text, FineTuning()
    own = inspect.signature(plugins.find("models", name, allowed=allowed)).parameters
    taken = {key: options.pop(key) for key in OPTIONS if key in options and key not in own}
    file = taken.get("weights")
    if file is not None and allowed is not None and file not in allowed:
        raise PluginError(
            f"{file!r} is a file of weights that this process was not told to read; start it with "
            f"--allow {file}"
        )
    rest = ",".join([name, *(f"{key}={value}" for key, value in options.items())])
    return rest, FineTuning(None if file is None else Path(file), taken.get("trained"))


def _load(model: nn.Module, path: Path) -> None:
    given, own = _read(path), model.state_dict()
    head = _head(model)
    fitting = {name: value for name, value in given.items() if _fits(value, own.get(name))}
    lacking = [name for name in own if name not in fitting and not name.startswith(head)]
    if lacking or not fitting:
        unknown = [name for name in given if name not in own]
        raise PluginError(
            f"the weights in {str(path)!r} do not fit the model: {_some(lacking or own)} missing or of "
            f"another shape" + f"; the file also holds {_some(unknown)}" * bool(unknown)
        )
    model.load_state_dict(fitting, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found: object = decode_tensors(path.read_bytes())
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, WireError) as error:
        raise PluginError(f"the weights {str(path)!r} cannot be read: {error}") from error
    except Exception as error:  # of any type if the file is damaged; some advise to load it unsafely
        raise PluginError(
            f"the weights {str(path)!r} cannot be read: the file is damaged, or holds objects other than "
            f"tensors, which are never loaded; save model.state_dict()"
        ) from error
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise PluginError(f"{str(path)!r} holds no tensors by name; save model.state_dict()")
    state = {str(name): value for name, value in found.items()}
    for prefix in _WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _fits(value: Tensor, own: Tensor | None) -> bool:
    return own is not None and value.shape == own.shape


def _head(model: nn.Module) -> str:
    """Return the beginning of the names in the layer that comes last."""
    last = list(model.state_dict())[-1]
    return last.rpartition(".")[0] + "."


def _freeze(model: nn.Module, trained: Collection[str]) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if lost := [name for name in trained if name not in names]:
        outer = [name for name in names if "." not in name]
        raise PluginError(f"the model has no layer {lost[0]!r} to train; it has {', '.join(outer)}")

    def of_trained(name: str) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in trained)

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and of_trained(name))
    for name, layer in model.named_modules():
        around = any(one == name or one.startswith(f"{name}.") for one in trained) or not name
        if not around and not of_trained(name):
            layer.training = False


def _some(names: Collection[str]) -> str:
    shown = list(names)[:4]
    return ", ".join(shown) + ", …" * (len(names) > len(shown))
