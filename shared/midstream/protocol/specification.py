"""The specification of a training run: every setting that its result depends on, in one JSON document."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midstream.mathematics.budget import Budget, Norm, PixelRange, pixel_bounds
from midstream.mathematics.modes import BatchNorm
from midstream.players.on_error import OnError
from midstream.protocol.dataset_defaults import defaults
from midstream.protocol.problem import Problem

_LEFT_OUT = {"schedule": "constant", "accumulate": 1, "augment_at": "before", "batch_sizes": "exact"}
"""Values that mean the same as none, so that a game has one specification."""

RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]


class Specification(BaseModel):
    """The settings of one training run. Omitted fields take the data set's defaults.

    >>> Specification.model_validate({"dataset": "mnist"}).batch_size
    500
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={"examples": [{"dataset": "digits", "defender": "level-1", "seed": 0}]},
    )

    name: RunName | None = Field(
        None, description="The run's name, as used in paths; null lets the server choose."
    )
    dataset: str = Field(
        "digits", min_length=1, description="An installed data set, folder:PATH, or package.module:function."
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Side length that the images of a folder are scaled to, in pixels."
    )
    model: str = Field(
        min_length=1, description="An installed model or package.module:function, with options."
    )
    batch_norm: BatchNorm = Field(
        "refuse",
        description="How to treat a model with batch norm: refuse rejects it; evaluation keeps these layers "
        "in evaluation mode throughout, with their initial running statistics; training trains them on the "
        "statistics of each minibatch, and takes v in evaluation mode; training-with-v takes v with the "
        "statistics of validation batches, too.",
    )
    train_size: int | None = Field(
        None, ge=1, description="Number of training examples; null for the data set's default, or for all."
    )
    validation_size: int = Field(
        ge=1, description="Examples held out of the training data as the public validation set Dval."
    )
    batch_size: int = Field(ge=1, description="Examples per minibatch; an epoch's last one may be smaller.")
    batch_sizes: Literal["exact", "any"] | None = Field(
        None,
        description="How many examples a minibatch may have: exact for as many as the provider sends, any "
        "for one to twice as many, which an attacker sends who drops or adds examples; null for exact.",
    )
    epochs: int = Field(ge=1, description="Number of passes over the training examples.")
    max_steps: int | None = Field(
        None, ge=1, description="Finish after this many steps, if the epochs have more."
    )
    optimizer: str = Field(
        "adam",
        min_length=1,
        description="The optimizer, with options: adam, adamw, rmsprop, sgd or module:Class; it steps "
        "on the sum of the batch's losses.",
    )
    learning_rate: float = Field(
        0.0008, gt=0, lt=1e6, allow_inf_nan=False, description="The learning rate η."
    )
    schedule: str | None = Field(
        None,
        min_length=1,
        description="How the learning rate changes over the run, with options: cosine, one-cycle or step; "
        "null for a constant one.",
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        lt=1e12,
        allow_inf_nan=False,
        description="Largest L2 norm of the gradient of the sum of the losses; a longer gradient is scaled "
        "down to it. null for none.",
    )
    accumulate: int | None = Field(
        None,
        ge=1,
        description="Minibatches whose gradients add up to one step of the optimizer; null for one.",
    )
    augment: str | None = Field(
        None,
        min_length=1,
        description="Random transforms of the images, combined by plus signs: crop+flip, cutout,size=8, "
        "randaugment; null for none.",
    )
    augment_at: Literal["before", "after", "both"] | None = Field(
        None,
        description="Whether the images are transformed before the defence, after it, or both, each by draws "
        "of its own; null for before.",
    )
    loss: str | None = Field(
        None,
        min_length=1,
        description="The loss, with options: huber,delta=1.0 or module:function, summed over a batch; null "
        "for the usual one of the data set's task: cross-entropy, mse or bce.",
    )
    chunk_size: int | None = Field(
        None,
        ge=1,
        description="Examples differentiated at a time; null lets the server choose. Memory grows with it, "
        "and the last bits depend on it.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of every random draw.")
    defender: str = Field(
        "none", min_length=1, description="The defender, with options: none, level-1, level-1+cutmix, …"
    )
    checker: str | None = Field(
        None,
        min_length=1,
        description="The checker, with options: loss, loss,action=drop,threshold=0.99, …; null for none.",
    )
    epsilon: float = Field(
        ge=0, lt=1e6, allow_inf_nan=False, description="The defender's budget ε, in pixel units."
    )
    norm: Norm = Field("l2", description="The norm of the budget's ball.")
    on_error: OnError = Field(
        "stop",
        description="What to do with a batch if the defender fails: stop refuses it; pass-clean trains on it "
        "as it arrived, and counts it.",
    )
    pixel_range: PixelRange = Field(
        "valid",
        description="valid clamps both players' outputs to [0, 1], and refuses batches outside that range; "
        "unbounded does neither, and only the norm balls limit the players.",
    )
    access: Literal["white-box", "black-box"] = Field(
        "white-box",
        description="black-box hides model, parameters, validation gradient and optimizer (403).",
    )
    target: int | None = Field(
        None, ge=0, description="The class whose conversion and evasion rates are measured; null for none."
    )
    evaluate_every: int | None = Field(
        None, ge=1, description="Steps between evaluations; null for one per epoch."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if isinstance(value, bool):  # pydantic would convert it to 0 or 1
                raise ValueError(f"{name} is {str(value).lower()}; no setting is true or false")
        if values.get("checker") == "none":
            values = {**values, "checker": None}
        dataset = values.get("dataset", "digits")
        filled = defaults(dataset) if isinstance(dataset, str) else {}
        given = {
            key: None if key in _LEFT_OUT and _LEFT_OUT[key] == value else value
            for key, value in values.items()
        }
        return {
            **filled,
            **{key: value for key, value in given.items() if not (key in filled and value is None)},
        }

    @model_validator(mode="after")
    def _refuse_a_place_for_nothing(self) -> Self:
        if self.augment_at is not None and self.augment is None:
            raise ValueError(
                f"augment_at is {self.augment_at}, but nothing is augmented; set augment, or leave it out"
            )
        return self

    def known(self) -> "Specification":
        """Return this specification, as received, if this version of midstream knows all of its settings.

        Raises:
            Problem: 500, naming the settings of another version.
        """
        if self.model_extra:
            names = ", ".join(sorted(self.model_extra))
            detail = f"this version of midstream does not know the run's settings {names}; use the server's"
            raise Problem(500, "The run has unknown settings", detail)
        return self

    def public(self) -> "Specification":
        """Return the published specification: the model of a black-box run is `hidden`.

        >>> Specification.model_validate({"access": "black-box"}).public().model
        'hidden'
        """
        return self.model_copy(update={"model": "hidden"}) if self.access == "black-box" else self

    @property
    def budget(self) -> Budget:
        """The defender's ball with the pixel range of both players."""
        return Budget(self.epsilon, self.norm, *pixel_bounds(self.pixel_range))

    def steps_per_epoch(self, train_size: int) -> int:
        """Return the number of minibatches per epoch for `train_size` examples."""
        return -(-train_size // self.batch_size)

    def total_steps(self, train_size: int) -> int:
        """Return the number of minibatches of the whole run."""
        steps = self.epochs * self.steps_per_epoch(train_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def batch_length(self, seq: int, train_size: int) -> int:
        """Return the number of examples in minibatch `seq`."""
        place = seq % self.steps_per_epoch(train_size)
        return min(self.batch_size, train_size - place * self.batch_size)

    def batch_limits(self, seq: int, train_size: int) -> tuple[int, int]:
        """Return the smallest and the largest number of examples that minibatch `seq` may have."""
        length = self.batch_length(seq, train_size)
        return (1, 2 * length) if self.batch_sizes == "any" else (length, length)
