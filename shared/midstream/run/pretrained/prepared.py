"""Pretrain players before a game: load pretrained state from the cache, or continue or start pretraining."""

from dataclasses import asdict
from pathlib import Path

from midstream.players.course import (
    Course,
    Ground,
    Learner,
    Surveying,
    begin,
    grounds,
    learners,
    surveyors,
    take_step,
)
from midstream.players.culprit import place
from midstream.players.referee import PlayerError
from midstream.players.reporting import Say, Tell
from midstream.plugins import weights_sha256
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.pretrained.learned import CacheFile, Description, cache_folder, circumstances, code_sha256
from midstream.run.process.environment import library_versions


class LearningError(PlayerError):
    """A player's pretraining failed; the message names the player and the reason."""


def must_learn(player: object) -> bool:
    """Return whether a player, or one of its parts, needs pretraining or a look at the data."""
    return any(next(found, None) is not None for found in (learners(player), surveyors(player)))


def prepare(
    name: str,
    player: object,
    ground: Ground,
    *,
    run: Specification,
    cache: Path | None = None,
    tell: Tell = lambda *_: None,
    say: Say = lambda _: None,
) -> None:
    """Pretrain a player and all its parts before a game.

    State that was pretrained with the same code, settings, data and environment is read from the cache.
    Unfinished pretraining continues from the cached state, with the same bits as without the interruption.

    Args:
        name: the player's name and options, for messages.
        player: the player.
        ground: data, model and settings to pretrain with.
        run: the run; the settings that determine the ground's data and model enter the cache key.
        cache: folder of the cache; `~/.cache/midstream/learned` by default.
        tell: called with the progress. If it raises, pretraining stops and can be continued later.
        say: called with messages for the operator.

    Raises:
        LearningError: pretraining failed, or the ground lacks something that the player needs.
    """
    found = list(grounds(player, ground))
    for surveyor, its in ((one, its) for one, its in found if isinstance(one, Surveying)):
        try:
            surveyor.survey(its)
        except Exception as error:
            raise LearningError(f"{ground.role} {name!r} cannot play: {error}{place(error)}") from error
    for learner, its in ((one, its) for one, its in found if isinstance(one, Learner)):
        what = type(learner).__name__
        try:
            course = begin(learner, its)
        except Exception as error:
            raise _failed(name, ground, error) from error
        description = _describe(learner, course, its, run)
        file = CacheFile(cache or cache_folder("learned"), description, what=what, say=say)
        done = _found(course, file)
        if done == course.steps:
            say(f"{what} is already pretrained: {file.path}")
            continue
        say(f"{what} learns for {course.steps} steps" + f", continuing from step {done}" * (done > 0))

        def report(step: int, steps: int, loss: str, what: str = what) -> None:
            tell(step, steps, f"{what} learns{loss}")

        _take(name, course, its, file, done, report)
        say(f"{what} is pretrained" + f"; cached in {file.path}" * file.path.exists())


def _found(course: Course, file: CacheFile) -> int:
    """Load a course's cached state, if there is any; return the number of steps taken."""
    if (cached := file.read()) is None:
        return 0
    state, steps = cached
    course.load_state_dict(state)
    return steps


def _take(name: str, course: Course, ground: Ground, file: CacheFile, done: int, tell: Tell) -> None:
    tell(done, course.steps, "")
    for number in range(done, course.steps):
        try:
            loss = take_step(course, ground, number)
        except Exception as error:
            raise _failed(name, ground, error) from error
        try:
            tell(number + 1, course.steps, f", loss {loss:.4g}")
        except BaseException:  # whoever waited for the pretraining stopped it: save the progress
            file.write(course.state_dict(), steps=number + 1)
            raise
        if file.due() or number + 1 == course.steps:
            file.write(course.state_dict(), steps=number + 1)


def _failed(name: str, ground: Ground, error: Exception) -> LearningError:
    return LearningError(f"{ground.role} {name!r} could not learn before the game: {error}{place(error)}")


def _describe(learner: Learner, course: Course, ground: Ground, run: Specification) -> Description:
    """Return the cache key: everything that affects the bits of the pretrained state."""
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
        "weights": weights_sha256(run.model),
        "validation": tensors_sha256(data),
        "code": code_sha256(*kind.__mro__[:-1]),
        "environment": circumstances(ground.device) | library_versions(run.model),
    }
