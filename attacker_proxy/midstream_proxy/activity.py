"""The proxy's current activity, for its status page."""

import time
from dataclasses import dataclass
from threading import Lock

from midstream.mathematics.budget import Budget
from midstream.protocol.announcement import ANNOUNCEMENT, announcement
from midstream.protocol.problem import Problem
from midstream.web.status.page import RunStatus, Status


@dataclass(frozen=True)
class Move:
    """One attacked batch.

    Attributes:
        share: mean of ‖x' - x‖/ε over the examples, in the budget's norm; None if ε is 0.
        seconds: duration of the attack, including reads from the server.
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
    """The current activity; the threads that serve and attack write it, and the status page reads it.

    Args:
        attacker: the attacker's name and options.
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
        """Count a request that the proxy forwards without an attack."""
        with self._lock:
            self._passed_on += 1

    def server_answers(self) -> None:
        """Note that the server behind the proxy answers."""
        with self._lock:
            self._problem = None

    def announcement(self, run: str) -> dict[str, str]:
        """Return the header with which the attacker names itself and its budget to a run's watchers."""
        with self._lock:
            budget = self._runs[run].budget
        limit = "" if budget is None else f" · ε {budget.epsilon:g} {budget.norm}"
        return {ANNOUNCEMENT: announcement(self._attacker + limit)}

    def does(self, run: str, doing: str) -> None:
        """Note what the proxy is doing for a run."""
        with self._lock:
            self._runs.setdefault(run, _Run()).doing = doing

    def is_ready(self, run: str, budget: Budget, total_steps: int) -> None:
        """Note that the attacker is ready for a run."""
        with self._lock:
            known = self._runs.setdefault(run, _Run())
            known.budget, known.total_steps, known.problem = budget, total_steps, None

    def moved(self, run: str, moves: int, passed_clean: int, resumed: int, last: Move | None) -> None:
        """Note that an attacked batch is sent, either attacked just now or from the memory.

        Args:
            run: the batch's run.
            moves: number of batches that this process attacked, without those from the memory.
            passed_clean: number of them sent unchanged because the attacker failed.
            resumed: how often --resume-anyway continued the attack.
            last: the last attacked batch.
        """
        with self._lock:
            known = self._runs[run]
            known.moves, known.passed_clean, known.resumed, known.move = moves, passed_clean, resumed, last

    def taken(self, run: str, next_seq: int) -> None:
        """Note that the server acknowledged a batch."""
        with self._lock:
            known = self._runs[run]
            known.step, known.problem = max(known.step, next_seq), None
            over = known.step == known.total_steps
            known.doing = (
                "all batches were taken" if over else f"waits for batch {known.step} from a provider"
            )

    def failed(self, problem: Problem, run: str = "") -> None:
        """Note a request that failed; `run` names its run if it was a batch."""
        when = time.strftime("%H:%M:%S")
        with self._lock:
            known = self._runs.get(run)
            if problem.status == 502 or known is None:
                self._problem = f"{when}: {problem}"
            elif (
                known.budget is not None or problem.status != 503
            ):  # a provider waits while the attacker is pretraining
                known.problem = f"{when}: {problem}"
                known.doing = f"waits for batch {known.step} again"

    def status(self) -> Status:
        """Return the content of the status page."""
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
