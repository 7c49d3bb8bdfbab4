"""The status of a run, as returned by `GET /v1/runs/{run}`."""

from midstream.protocol.messages.runs import PassedClean, Result, ResumedAnyway, Status
from midstream_server.runs.hosting.hosted import HostedRun


def describe(hosted: HostedRun) -> Status:
    """Return a run's status."""
    recorded = hosted.recorded
    last = recorded.records[-1] if recorded.records else None
    evaluation = recorded.evaluation
    rate = hosted.rate()
    remaining = hosted.run.total_steps - hosted.version
    return Status(
        name=hosted.name,
        id=recorded.identity,
        state=hosted.state,
        reason=hosted.reason,
        waiting_for=hosted.waiting_for(),
        step=hosted.version,
        total_steps=hosted.run.total_steps,
        epoch=hosted.version // hosted.run.steps_per_epoch,
        steps_per_epoch=hosted.run.steps_per_epoch,
        train_size=hosted.run.train_size,
        dataset_sha256=hosted.run.dataset_sha256,
        loss=last["loss"] if last else None,
        test_accuracy=evaluation.test_accuracy if evaluation else None,
        test_loss=evaluation.test_loss if evaluation else None,
        validation_accuracy=evaluation.validation_accuracy if evaluation else None,
        validation_loss=evaluation.validation_loss if evaluation else None,
        conversion_rate=evaluation.conversion_rate if evaluation else None,
        evasion_rate=evaluation.evasion_rate if evaluation else None,
        passed_clean=PassedClean.model_validate(recorded.passed_clean),
        resumed_anyway=ResumedAnyway.model_validate(recorded.resumed_anyway),
        steps_per_second=rate,
        seconds_left=remaining / rate if rate and hosted.state == "running" else None,
        attacker=hosted.attacker,
        samples=recorded.samples,
        result=None if recorded.result is None else Result.model_validate(recorded.result),
        specification=hosted.specification.public(),
    )
