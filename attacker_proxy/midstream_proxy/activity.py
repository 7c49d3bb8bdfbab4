"""What the man in the middle does and waits for, kept for its status page."""

import time
from dataclasses import dataclass
from threading import Lock

from midstream.mathematics.budget import Budget
from midstream.protocol.problem import Problem
from midstream.web.status.page import RunStatus, Status


@dataclass(frozen=True)
class Move:
    """One attacked batch.

    Attributes:
        share: mean over its examples of ‖x' - x‖/ε, by the budget's norm; None where ε is 0.
        seconds: what the attack took, the reads from the server among them.
    """

    share: float | None
    seconds: float


@dataclass
class _Run:
    doing: str = ""
    step: int = 0
    moves: int = 0
    passed_clean: int = 0
    resumed: int = 0
    total_steps: int | None = None
    budget: Budget | None = None
    move: Move | None = None
    problem: str | None = None

    def status(self, name: str) -> RunStatus:
        facts: dict[str, str | float | None] = {
            "norm": None if self.budget is None else self.budget.norm,
            "epsilon": None if self.budget is None else self.budget.epsilon,
            "mean_move_as_a_share_of_epsilon": None if self.move is None else self.move.share,
            "seconds_an_attack": None if self.move is None else self.move.seconds,
            "batches_attacked_by_this_process": self.moves,
            "of_them_failed_at_and_passed_clean": self.passed_clean,
            "times_resumed_although_its_memory_did_not_fit": self.resumed,
        }
        return RunStatus(name, self.doing, self.step, self.total_steps, facts, self.problem)


class Activity:
    """Written by the threads that serve and attack, read by the one that shows it.

    Args:
        attacker: its name and options.
        upstream: the training server's base URL.
    """

    def __init__(self, attacker: str, upstream: str) -> None:
        self._attacker = attacker
        self._upstream = upstream
        self._lock = Lock()
        self._runs: dict[str, _Run] = {}
        self._passed_on = 0
        self._problem: str | None = None

    def passes_on(self) -> None:
        """A request goes on that is not attacked."""
        with self._lock:
            self._passed_on += 1

    def server_answers(self) -> None:
        """The server behind the proxy is there."""
        with self._lock:
            self._problem = None

    def does(self, run: str, doing: str) -> None:
        """The proxy is busy with a run of the server's."""
        with self._lock:
            self._runs.setdefault(run, _Run()).doing = doing

    def is_ready(self, run: str, budget: Budget, total_steps: int) -> None:
        """The attacker can begin."""
        with self._lock:
            known = self._runs.setdefault(run, _Run())
            known.budget, known.total_steps, known.problem = budget, total_steps, None

    def moved(self, run: str, moves: int, passed_clean: int, resumed: int, last: Move | None) -> None:
        """A batch goes on attacked: as it just was, or as it is remembered.

        Args:
            run: its run.
            moves: batches that this process attacked, not counting those that it remembered.
            passed_clean: how many of them went on as they came, since the attacker failed.
            resumed: how often its attack went on although it would not by itself.
            last: the last of them.
        """
        with self._lock:
            known = self._runs[run]
            known.moves, known.passed_clean, known.resumed, known.move = moves, passed_clean, resumed, last

    def taken(self, run: str, next_seq: int) -> None:
        """The server acknowledged a batch."""
        with self._lock:
            known = self._runs[run]
            known.step, known.problem = max(known.step, next_seq), None
            over = known.step == known.total_steps
            known.doing = (
                "all batches were taken" if over else f"waits for batch {known.step} from a provider"
            )

    def failed(self, problem: Problem, run: str = "") -> None:
        """A request did not go on; where it was a run's batch, that run's."""
        when = time.strftime("%H:%M:%S")
        with self._lock:
            known = self._runs.get(run)
            if problem.status == 502 or known is None:
                self._problem = f"{when}: {problem}"
            elif (
                known.budget is not None or problem.status != 503
            ):  # a provider waits until the attacker has learnt
                known.problem = f"{when}: {problem}"
                known.doing = f"waits for batch {known.step} again"

    def status(self) -> Status:
        """Return what the page shows."""
        with self._lock:
            doing = "waits for a batch to attack" if not self._runs else "attacks batches, passes on the rest"
            if self._attacker == "none":
                doing = "passes everything on untouched"
            facts: dict[str, str | float | None] = {
                "attacker": self._attacker,
                "training_server": self._upstream,
                "other_requests_passed_on": self._passed_on,
            }
            runs = [known.status(name) for name, known in self._runs.items()]
        return Status("attacker proxy", doing, facts, runs, self._problem)
