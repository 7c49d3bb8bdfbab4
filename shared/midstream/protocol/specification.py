"""What one training run is: everything that its result depends on, in one JSON document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midstream.mathematics.budget import Budget, Norm, PixelRange, pixel_bounds
from midstream.mathematics.modes import BatchNorm
from midstream.players.referee import OnError

RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]

# The paper's settings (section 6 and A.1.2); digits are ours, sized for a demonstration.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "digits-cnn",
        "epsilon": 1.5,
        "validation_size": 400,
        "batch_size": 100,
        "epochs": 60,
    },
    "mnist": {
        "model": "mnist-cnn",
        "epsilon": 3.0,
        "validation_size": 5000,
        "batch_size": 500,
        "epochs": 120,
    },
    "mnist-1-vs-7": {
        "model": "logistic",
        "epsilon": 3.0,
        "train_size": 40,
        "validation_size": 400,
        "batch_size": 40,
        "epochs": 120,
    },
    "cifar": {
        "model": "cifar-cnn",
        "epsilon": 2.0,
        "validation_size": 5000,
        "batch_size": 400,
        "epochs": 240,
    },
    "photos": {"model": "auto", "epsilon": 4.0, "validation_size": 250, "batch_size": 100, "epochs": 40},
}
_FAMILY = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-1-vs-7": "mnist-1-vs-7",
    "fashion-mnist": "mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
}


def defaults(dataset: str) -> dict[str, Any]:
    """Return the settings that a data set's runs have unless told otherwise.

    >>> defaults("mnist")["epsilon"]
    3.0
    """
    return _DEFAULTS[_FAMILY.get(dataset, "photos")]


class Specification(BaseModel):
    """One training run. Fields left out take the data set's defaults.

    >>> Specification.model_validate({"dataset": "mnist"}).batch_size
    500
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={"examples": [{"dataset": "digits", "defender": "level-1", "seed": 0}]},
    )

    name: RunName | None = Field(None, description="The run's name in every path; the server finds one.")
    dataset: str = Field(
        "digits", min_length=1, description="An installed name, folder:PATH or package.module:function."
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Side length to scale a folder's images to."
    )
    model: str = Field(
        min_length=1, description="An installed name or package.module:function, and its options."
    )
    batch_norm: BatchNorm = Field(
        "refuse",
        description="What becomes of a model with batch norm: refuse it, or keep those layers in evaluation "
        "mode, their running statistics as initialised, throughout.",
    )
    train_size: int | None = Field(
        None, ge=1, description="Training examples streamed; null for all, or the data set's own default."
    )
    validation_size: int = Field(ge=1, description="Examples held out of the training data as public Dval.")
    batch_size: int = Field(ge=1, description="Examples a minibatch; an epoch's last one may be smaller.")
    epochs: int = Field(ge=1, description="How often every training example is sent.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps, if earlier.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="Taken on the sum of the batch's losses.")
    learning_rate: float = Field(0.0008, gt=0, lt=1e6, allow_inf_nan=False, description="η.")
    seed: int = Field(0, ge=0, lt=2**63, description="Every random draw derives from it.")
    defender: str = Field("none", min_length=1, description="A defender and its options: level-1, none, …")
    epsilon: float = Field(
        ge=0, lt=1e6, allow_inf_nan=False, description="The defender's budget ε, in pixel units."
    )
    norm: Norm = Field("l2", description="The ball's norm.")
    on_error: OnError = Field(
        "stop",
        description="What becomes of a batch that the defender fails at: stop refuses it; pass-clean trains "
        "on it as it arrived, and counts it.",
    )
    pixel_range: PixelRange = Field(
        "valid",
        description="valid clamps what both players move to [0, 1], and refuses batches beyond it; unbounded "
        "does neither, and the balls alone hold the players.",
    )
    access: Literal["white-box", "black-box"] = Field(
        "white-box",
        description="black-box closes model, parameters, validation gradient and optimizer (403).",
    )
    target: int | None = Field(
        None, ge=0, description="The class whose conversion and evasion rates are measured; null for none."
    )
    evaluate_every: int | None = Field(
        None, ge=1, description="Steps between evaluations; null for each epoch."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if isinstance(value, bool):  # which pydantic takes for 0 or 1
                raise ValueError(f"{name} is {str(value).lower()}; no setting is true or false")
        dataset = values.get("dataset", "digits")
        filled = defaults(dataset) if isinstance(dataset, str) else {}
        return {
            **filled,
            **{key: value for key, value in values.items() if not (key in filled and value is None)},
        }

    def public(self) -> "Specification":
        """Return what everyone may read: of a black-box run, the model is `hidden`.

        >>> Specification.model_validate({"access": "black-box"}).public().model
        'hidden'
        """
        return self.model_copy(update={"model": "hidden"}) if self.access == "black-box" else self

    @property
    def budget(self) -> Budget:
        """The defender's ball, and the pixel range of both players."""
        return Budget(self.epsilon, self.norm, *pixel_bounds(self.pixel_range))

    def steps_per_epoch(self, train_size: int) -> int:
        """Return how many minibatches hold `train_size` examples."""
        return -(-train_size // self.batch_size)

    def total_steps(self, train_size: int) -> int:
        """Return how many minibatches the whole run has."""
        steps = self.epochs * self.steps_per_epoch(train_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def batch_length(self, seq: int, train_size: int) -> int:
        """Return how many examples minibatch `seq` holds."""
        place = seq % self.steps_per_epoch(train_size)
        return min(self.batch_size, train_size - place * self.batch_size)
