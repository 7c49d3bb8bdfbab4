"""Batches come in order, each is trained on once, and sending one again is harmless."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from services.plain_batches import Fields, changed, label, pixel
from services.tiny import STEPS, TinyRun, problem


def test_a_gap_is_409_and_says_which_batch_is_next(run: TinyRun) -> None:
    run.play(0, 2)
    before = run.sha256()
    assert problem(run.put(4), 409)["next_seq"] == 2
    assert run.sha256() == before
    run.play(2)


def test_a_repeated_batch_has_the_same_answer_and_changes_nothing(run: TinyRun) -> None:
    first = run.put(0).json()
    assert first["replay"] is False
    before = run.sha256()
    assert run.put(0).json() == first | {"replay": True}
    assert run.sha256() == before
    run.play(1, 3)
    before = run.sha256()
    assert run.put(0).json() == first | {"replay": True, "next_seq": 3}
    assert run.sha256() == before
    run.play(3)


def test_other_content_under_a_known_number_is_409(run: TinyRun) -> None:
    run.play(0, 2)
    before = run.sha256()
    assert problem(run.put(1, changed(1, pixel(0.5))), 409)["next_seq"] == 2
    assert problem(run.put(1, changed(1, label(3))), 409)["next_seq"] == 2
    assert run.sha256() == before
    run.play(2)


def test_a_known_batch_under_another_number_is_no_repetition(run: TinyRun) -> None:
    run.play(0, 1)
    found = problem(run.put(0, changed(0, lambda found: found.update(seq=1))), 422)
    assert found["field"] == "seq"
    run.play(1)


def test_a_batch_sent_many_times_at_once_is_trained_on_once(run: TinyRun) -> None:
    together = Barrier(6)

    def put(_: int) -> Fields:
        together.wait()
        answer: Fields = run.put(0).json()
        return answer

    with ThreadPoolExecutor(6) as senders:
        answers = list(senders.map(put, range(6)))
    assert sorted(answer["replay"] for answer in answers) == [False, True, True, True, True, True]
    assert {answer["parameters_version"] for answer in answers} == {1}
    assert len({answer["loss"] for answer in answers}) == 1
    assert run.status()["step"] == 1
    run.play(1)


def test_there_is_no_batch_after_the_last(run: TinyRun) -> None:
    run.play(0)
    before = run.sha256()
    another = changed(0, lambda found: found.update(seq=STEPS))
    assert problem(run.put(STEPS, another), 409)["next_seq"] == STEPS
    assert run.until("finished")["result"]["parameters_sha256"] == before
    assert problem(run.put(STEPS, another), 409)["next_seq"] == STEPS
    assert run.put(STEPS - 1).json()["replay"] is True
    assert run.sha256() == before
