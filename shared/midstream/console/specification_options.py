"""Options of what a run trains: data set, model, optimizer, budgets; and the specification they make."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from midstream.console.finite import FINITE
from midstream.console.options import named, one_of, option, radius, together

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from midstream.mathematics.budget import Budget
    from midstream.protocol.specification import Specification

specification_options = together(
    option(
        "--dataset",
        shell_complete=named("datasets"),
        help="digits, mnist, mnist-1-vs-7, fashion-mnist, cifar10, cifar100, diabetes, breast-cancer, "
        "california-like, digit-traits, phrases, folder:PATH or module:function.",
    ),
    option("--image-size", type=int, help="Side length to which a folder's images are scaled and cropped."),
    option(
        "--model",
        shell_complete=named("models"),
        help="auto, mnist-cnn, cifar-cnn, resnet18, vit-tiny, …, torchvision:NAME, timm:NAME or "
        "module:function; mnist-cnn,dropout=0.2.",
    ),
    option(
        "--loss",
        shell_complete=named("losses"),
        help="The loss: cross-entropy, mse, huber,delta=1.0, bce or module:function; by default the usual "
        "one of the data set's task.",
    ),
    option(
        "--batch-norm",
        type=click.Choice(["refuse", "evaluation", "training", "training-with-v"]),
        help="Refuse a model with batch norm (the default), leave its batch norm in evaluation mode, or "
        "train it on the statistics of each minibatch; training-with-v takes v with batch statistics, too.",
    ),
    option("--train-size", type=int, help="Number of training examples to use; all by default."),
    option(
        "--validation-size",
        type=int,
        help="Number of training examples held out as the public validation set.",
    ),
    option("--batch-size", type=int, help="Examples per minibatch."),
    option(
        "--batch-sizes",
        type=click.Choice(["exact", "any"]),
        help="Sizes of minibatches that the server accepts: exact for the batch size only (the default), any "
        "for one to twice as many examples. `play` chooses any if the attacker drops or adds examples.",
    ),
    option("--epochs", type=int, help="Passes over the training data."),
    option("--max-steps", type=int, help="Stop after this many steps, even before all epochs are done."),
    option(
        "--optimizer",
        shell_complete=one_of("adam", "adamw", "rmsprop", "sgd"),
        help="adam (the default), adamw,weight_decay=0.01, rmsprop, sgd,momentum=0.9,nesterov=true, or "
        "module:Class.",
    ),
    option("--lr", "learning_rate", type=FINITE, help="Learning rate; 0.0008 by default."),
    option(
        "--schedule",
        shell_complete=one_of("constant", "cosine", "one-cycle", "step"),
        help="How the learning rate changes: constant (the default), cosine,warmup=100, step,every=30, in "
        "epochs, or one-cycle.",
    ),
    option(
        "--clip-norm",
        type=FINITE,
        help="Largest L2 norm of the gradient of the sum of a minibatch's losses; no limit by default.",
    ),
    option(
        "--accumulate",
        type=int,
        help="Minibatches whose gradients add up to one step of the optimizer; 1 by default.",
    ),
    option(
        "--augment",
        shell_complete=one_of("crop", "cutout", "flip", "randaugment"),
        help="Random transforms of the images, such as crop,padding=4+flip, cutout,size=8 or randaugment.",
    ),
    option(
        "--augment-at",
        type=click.Choice(["before", "after", "both"]),
        help="Transform the images before the defence (the default), after it, or both.",
    ),
    option(
        "--chunk-size",
        type=int,
        help="Examples differentiated at a time; more need more memory, and change the last bits. By default "
        "250 or 500 on a CPU, and as many as fit on a GPU.",
    ),
    option("--epsilon", type=FINITE, help="Perturbation budget, in pixel units."),
    option("--norm", type=click.Choice(["l2", "linf"]), help="The budget's norm; l2 by default."),
    option(
        "--pixel-range",
        type=click.Choice(["valid", "unbounded"]),
        help="Clamp perturbed inputs to [0, 1] (the default), or let them leave that range.",
    ),
    option("--seed", type=int, help="Seed of every random draw; 0 by default."),
    option(
        "--target",
        type=int,
        help="Class whose conversion and evasion rates are measured; `play` takes the attacker's by default.",
    ),
    option(
        "--access",
        type=click.Choice(["white-box", "black-box"]),
        help="black-box hides the model from the attacker; white-box by default.",
    ),
    option("--evaluate-every", type=int, help="Steps between evaluations; one epoch by default."),
)

attack_budget_options = together(
    option(
        "--attack-epsilon",
        type=FINITE,
        callback=radius,
        help="The attacker's budget, in pixel units; the defender's by default.",
    ),
    option(
        "--attack-norm",
        type=click.Choice(["l2", "linf"]),
        help="Norm of the attacker's budget; the defender's by default.",
    ),
)


def specification_of(settings: Mapping[str, object], **fixed: object) -> "Specification":
    """Return the specification from a command's settings; unset ones get the data set's defaults.

    Args:
        settings: the values of `specification_options` by parameter name; others are ignored.
        fixed: fields of the specification that the command sets itself.

    Raises:
        click.UsageError: a value is out of range.
    """
    from pydantic import ValidationError

    from midstream.protocol.specification import Specification

    chosen = {name: settings[name] for name in Specification.model_fields if settings.get(name) is not None}
    try:
        return Specification.model_validate(chosen | fixed)
    except ValidationError as error:
        raise click.UsageError("; ".join(_fault(fault) for fault in error.errors())) from error


def attack_budget_of(settings: Mapping[str, Any], specification: "Specification") -> "Budget":
    """Return the attacker's ball: the defender's, changed by `attack_budget_options`.

    Args:
        settings: a command's settings, by parameter name.
        specification: the run, whose ball is the defender's.

    Raises:
        click.UsageError: the norm changes but not ε, which means another size in each norm.
    """
    epsilon, norm = settings["attack_epsilon"], settings["attack_norm"]
    if epsilon is None and norm not in (None, specification.norm):
        raise click.UsageError(
            f"--attack-norm {norm} needs an --attack-epsilon: ε = {specification.epsilon:g} was meant for "
            f"the {specification.norm} ball"
        )
    own = specification.budget
    return replace(own, epsilon=own.epsilon if epsilon is None else epsilon, norm=norm or own.norm)


def _fault(fault: "ErrorDetails") -> str:
    """Return the message for one invalid setting, which names its flag."""
    if not fault["loc"]:
        return str(fault["msg"])
    name, value = str(fault["loc"][0]), fault["input"]
    if name == "name":
        near = re.sub(r"[^a-z0-9._-]+", "-", str(value).lower()).lstrip("._-")[:100]
        return (
            f"--run: {value!r} is not a valid name: use at most 100 lower-case letters, digits, '.', '_' and "
            f"'-', and begin with a letter or a digit" + f"; {near!r} would be valid" * bool(near)
        )
    flag = {"learning_rate": "lr"}.get(name, name).replace("_", "-")
    return f"--{flag}: {fault['msg']}, not {value!r}"
