"""Games that an operator starts from the dashboard: what can be asked for, and what is played."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from midstream.protocol.dataset_defaults import defaults
from midstream.protocol.messages.message import Message

DatasetName = Literal["digits", "mnist", "fashion-mnist", "cifar10"]
AttackerName = Literal["none", "noise", "label-flip", "fgsm", "pgd", "level-1"]
DefenderName = Literal["none", "clip", "median", "cutmix", "level-1"]

DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)
ATTACKERS: tuple[AttackerName, ...] = get_args(AttackerName)
DEFENDERS: tuple[DefenderName, ...] = get_args(DefenderName)


class GameRequest(BaseModel):
    """A game to start. Nothing in it names a file, code or an address.

    >>> GameRequest(dataset="digits", attacker="level-1").defender
    'none'
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={
            "examples": [{"dataset": "digits", "attacker": "level-1", "defender": "level-1", "compare": True}]
        },
    )

    dataset: DatasetName = Field("digits", description="The data set; its defaults apply.")
    attacker: AttackerName = Field("none", description="The attacker, without options.")
    defender: DefenderName = Field("none", description="The defender, without options.")
    epsilon: float | None = Field(
        None,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="Budget ε of both sides, in pixel units; null for the data set's.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of every random draw.")
    epochs: int | None = Field(
        None, ge=1, le=1000, description="Number of epochs; null for the data set's default."
    )
    compare: bool = Field(
        False,
        description="Whether to start three games: a clean one, one with the attacker, and one with both.",
    )


class OfferedDataset(Message):
    """A data set that a game can be started on, with its defaults."""

    name: str = Field(description="Its name.")
    epsilon: float = Field(description="Its default budget ε.")
    epochs: int = Field(description="Its default number of epochs.")


class Offer(Message):
    """What a game can be made of."""

    datasets: list[OfferedDataset] = Field(description="Data sets.")
    attackers: list[str] = Field(description="Attackers.")
    defenders: list[str] = Field(description="Defenders.")
    most: int = Field(description="Maximum number of games played at once.")


class GameState(Message):
    """One game that was started from the dashboard."""

    run: str = Field(description="The name of its run.")
    attacker: str = Field(description="The attacker.")
    playing: bool = Field(description="Whether its attacker and its data provider run.")
    problem: str | None = Field(description="Why one of them ended before the run did; null if none did.")


class Games(Message):
    """The games that were started from the dashboard."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "offered": {
                        "datasets": [{"name": "digits", "epsilon": 1.5, "epochs": 60}],
                        "attackers": list(ATTACKERS),
                        "defenders": list(DEFENDERS),
                        "most": 3,
                    },
                    "games": [
                        {"run": "attacked", "attacker": "level-1", "playing": True, "problem": None},
                    ],
                }
            ]
        }
    )

    offered: Offer | None = Field(description="What can be started; null if the server has no --games.")
    games: list[GameState] = Field(description="The games, in the order of their start.")


class StartedGames(Message):
    """Games that have just been started."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"runs": ["clean", "attacked", "defended"]}]})

    runs: list[str] = Field(description="The names of their runs.")


def offer(datasets: tuple[str, ...], most: int) -> Offer:
    """Return the offer of a server.

    Args:
        datasets: the data sets that it can load.
        most: maximum number of games at once.
    """
    return Offer(
        datasets=[
            OfferedDataset(name=name, epsilon=defaults(name)["epsilon"], epochs=defaults(name)["epochs"])
            for name in datasets
        ],
        attackers=list(ATTACKERS),
        defenders=list(DEFENDERS),
        most=most,
    )
