"""Players made ready for a game: what they must learn is found on disk, gone on with, or learned now."""

from dataclasses import asdict
from pathlib import Path

from midstream.players.course import Course, Ground, Learner, begin, learners, take_step
from midstream.players.culprit import place
from midstream.players.interface import Player
from midstream.players.referee import PlayerError
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.learned import Description, KeptFile, Say, Tell, cache_folder, circumstances, code_sha256


class LearningError(PlayerError):
    """A player could not learn what it must before the game; the message names it and says why."""


def must_learn(player: Player) -> bool:
    """Return whether a player, or one that it is made of, learns something before the game."""
    return next(learners(player), None) is not None


def prepare(
    name: str,
    player: Player,
    ground: Ground,
    *,
    run: Specification,
    cache: Path | None = None,
    tell: Tell = lambda *_: None,
    say: Say = lambda _: None,
) -> None:
    """Have a player learn all that it must before a game.

    What was learned before, of the same code, settings, data and circumstances, is read from the disk; what
    was begun is gone on with, to the same bits.

    Args:
        name: the player's name and options, for messages.
        player: the player.
        ground: what it learns from.
        run: the run, of which all that the ground's data and model come of is used.
        cache: folder of what was learned; `~/.cache/midstream/learned` by default.
        tell: told how it goes; what it raises ends the learning, which can be gone on with later.
        say: told where the outcome came from.

    Raises:
        LearningError: it failed, or the ground lacks what it needs.
    """
    for learner in learners(player):
        what = type(learner).__name__
        try:
            course = begin(learner, ground)
        except Exception as error:
            raise _failed(name, ground, error) from error
        description = _describe(learner, course, ground, run)
        file = KeptFile(cache or cache_folder("learned"), description, what=what, say=say)
        done = _found(course, file)
        if done == course.steps:
            say(f"{what} has learned before: {file.path}")
            continue
        say(f"{what} learns, in {course.steps} steps" + f"; it goes on from step {done}" * (done > 0))

        def told(step: int, steps: int, loss: str, what: str = what) -> None:
            tell(step, steps, f"{what} learns{loss}")

        _take(name, course, ground, file, done, told)
        say(f"{what} has learned" + f"; that is kept in {file.path}" * file.path.exists())


def _found(course: Course, file: KeptFile) -> int:
    """Take up what is kept of a course; return how many of its steps were taken."""
    if (kept := file.read()) is None:
        return 0
    course.load_state_dict(kept[0])
    return kept[1]


def _take(name: str, course: Course, ground: Ground, file: KeptFile, done: int, tell: Tell) -> None:
    tell(done, course.steps, "")
    for number in range(done, course.steps):
        try:
            loss = take_step(course, ground, number)
        except Exception as error:
            raise _failed(name, ground, error) from error
        try:
            tell(number + 1, course.steps, f", loss {loss:.4g}")
        except BaseException:  # whoever waited gave up
            file.write(course.state_dict(), steps=number + 1)
            raise
        if file.due() or number + 1 == course.steps:
            file.write(course.state_dict(), steps=number + 1)


def _failed(name: str, ground: Ground, error: Exception) -> LearningError:
    return LearningError(f"{ground.role} {name!r} could not learn before the game: {error}{place(error)}")


def _describe(learner: Learner, course: Course, ground: Ground, run: Specification) -> Description:
    """Return everything that what is learned depends on, to the bit."""
    kind = type(learner)
    data = {"inputs": ground.validation_inputs, "labels": ground.validation_labels}
    return {
        "learner": f"{kind.__module__}:{kind.__qualname__}",
        "settings": course.settings,
        "steps": course.steps,
        "role": ground.role,
        "seed": ground.seed,
        "budget": asdict(ground.budget),
        "classes": ground.classes,
        "learning_rate": ground.learning_rate,
        "run": run.model_dump(
            include={"dataset", "image_size", "train_size", "model", "batch_norm", "batch_size"}
        ),
        "validation": tensors_sha256(data),
        "code": code_sha256(*kind.__mro__[:-1]),
        "environment": circumstances(ground.device),
    }
