"""Export a run to MLflow: to a folder on this machine, or to any tracking store."""

import os
import re
from pathlib import Path

import click

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.tracked import missing, numbers, samples, settings, training_times

EXPERIMENT = "midstream"

_AT_ONCE = 1000  # metrics; MLflow takes no more in one call


def log_to_mlflow(store: str, label: str, run: PlayedRun) -> None:
    """Log a run to a tracking store, in the experiment `midstream`.

    Every number of a step's record becomes a metric at that step, whose time is the training time up to it.
    Settings become parameters, and sample images artifacts.

    Args:
        store: a folder, or a URI as in `MLFLOW_TRACKING_URI`.
        label: the run's name in MLflow.
        run: the run.

    Raises:
        click.ClickException: mlflow is not installed, or refuses.
    """
    local = "://" not in store
    # Read when mlflow is imported. It otherwise refuses folders, and tells its makers what it is used for.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if local:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise missing("--mlflow", "mlflow", error) from error
    metrics = [
        Metric(name, value, round(1000 * seconds), record["step"])
        for record, seconds in zip(run.records, training_times(run), strict=True)
        for name, value in numbers(record).items()
    ]
    parameters = [Param(name, str(value)) for name, value in settings(run).items()]
    try:
        client = MlflowClient(tracking_uri=Path(store).resolve().as_uri() if local else store)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
        logged = client.create_run(number, run_name=label).info.run_id
        client.log_batch(logged, params=parameters)
        for first in range(0, len(metrics), _AT_ONCE):
            client.log_batch(logged, metrics=metrics[first : first + _AT_ONCE])
        for _, path in samples(run):
            client.log_artifact(logged, str(path), "samples")
        client.set_terminated(logged, "FINISHED" if run.state == "finished" else "RUNNING")
    except MlflowException as error:
        raise click.ClickException(without_login(f"MLflow refuses {store}: {str(error).strip()}")) from error


def without_login(text: str) -> str:
    """Return a text whose addresses show neither users nor passwords.

    >>> without_login("postgresql://ann:secret@host/runs")
    'postgresql://…@host/runs'
    """
    return re.sub(r"(?<=://)[^/\s]*@", "…@", text)
