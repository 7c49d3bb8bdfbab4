"""One trial of a sweep: an ordinary game, named by the digest of everything its result depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from midstream.command.games.game import GamePlan
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial_name import trial_name
from midstream.mathematics.budget import Budget
from midstream.protocol.specification import Specification
from midstream.run.process.precisions import Precision
from midstream_proxy.surrogates.surrogate import SurrogateSettings

Setting = str | int | float | None
"""The value of a setting."""


@dataclass(frozen=True)
class Trial:
    """One game of a sweep.

    Attributes:
        specification: the run, without a name.
        attacker: the attacker's name and options.
        attack_budget: the attacker's budget.
        gradient: source of the attacker's validation gradient.
        surrogate: settings of the attacker's surrogate; used if the run is black-box.
        signed: who signs the batches, if the server requires a signature.
        sources: the SHA-256 of the file behind each plug-in that is not installed by name. A trial with an
            edited plug-in is a different trial.
        precision: of the derivatives and of the training step.
    """

    specification: Specification
    attacker: str
    attack_budget: Budget
    gradient: Literal["server", "own"] = "server"
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    signed: Literal["provider", "attacker"] | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "float32"

    @staticmethod
    def of_plan(plan: GamePlan) -> "Trial":
        """Return the trial of a game's plan; what the plan says about the machine is left out."""
        specification = plan.specification.model_copy(update={"name": None})
        return Trial(
            specification,
            plan.attacker,
            plan.attack_budget,
            plan.gradient,
            replace(plan.surrogate, cache=None),
            plan.signed,
            plan.plugin_files,
            plan.precision,
        )

    @cached_property
    def name(self) -> str:
        """The run's name: the first 16 hexadecimal digits of the SHA-256 of its canonical JSON.

        Device, threads, transport and folders are no part of it: each machine may play any trial.
        """
        return trial_name(self.document())

    def document(self) -> dict[str, Any]:
        """Return everything that the result depends on as JSON values, without unset settings."""
        document: dict[str, Any] = {
            "specification": self.specification.model_dump(exclude={"name"}, exclude_none=True),
            "attacker": self.attacker,
            "attack_epsilon": float(self.attack_budget.epsilon),
            "attack_norm": self.attack_budget.norm,
            "gradient": self.gradient,
        }
        if self.signed is not None:
            document["signed"] = self.signed
        if self.precision != "float32":
            document["precision"] = self.precision
        if self.sources:
            document["sources"] = dict(self.sources)
        if self.specification.access == "black-box":
            chosen = self.surrogate
            numbers = {"epochs": chosen.epochs, "train_size": chosen.train_size, "seed": chosen.seed}
            given = {name: value for name, value in numbers.items() if value is not None}
            document["surrogate"] = {"model": chosen.model, **given}
        return document

    @staticmethod
    def of(document: Mapping[str, Any]) -> "Trial":
        """Return the trial of a document.

        Raises:
            ValueError: the document is not a trial's.
        """
        try:
            specification = Specification.model_validate(document["specification"])
            budget = specification.budget
            return Trial(
                specification,
                document["attacker"],
                Budget(document["attack_epsilon"], document["attack_norm"], budget.low, budget.high),
                document["gradient"],
                SurrogateSettings(**document.get("surrogate", {})),
                document.get("signed"),
                document.get("sources", {}),
                document.get("precision", "float32"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not a trial: {error!r}") from error

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """All settings by name, as tables group by them."""
        document = self.document()
        surrogate = document.pop("surrogate", {})
        sources = document.pop("sources", {})
        found: dict[str, Setting] = {**document.pop("specification"), "precision": self.precision, **document}
        for name, value in surrogate.items():
            found["surrogate" if name == "model" else f"surrogate_{name}"] = value
        if sources:
            found["sources"] = " ".join(f"{name}@{short[:8]}" for name, short in sorted(sources.items()))
        return found

    def plan(self, place: Place) -> GamePlan:
        """Return the plan of the game in a results folder."""
        return GamePlan(
            specification=self.specification.model_copy(update={"name": self.name}),
            attacker=self.attacker,
            attack_budget=self.attack_budget,
            gradient=self.gradient,
            surrogate=replace(self.surrogate, cache=place.cache),
            transport=place.transport,
            signed=self.signed,
            precision=self.precision,
            out=place.out,
            data_root=place.data_root,
            download=place.download,
            device=place.device,
            threads=place.threads,
        )

    @property
    def unchanged(self) -> bool:
        """Whether the files of its plug-ins are those that the trial was made with."""
        return self.plan(Place(Path())).plugin_files == dict(self.sources)

    def __str__(self) -> str:
        """Return the trial in words, for messages."""
        run = self.specification
        return f"{run.dataset}, {self.attacker} vs {run.defender}, seed {run.seed} ({self.name})"
