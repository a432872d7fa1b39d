"""The short form of `make chaos`."""

import json
import random
from datetime import date
from pathlib import Path

from canary.domain.remembered import DEFAULT_CANARY, month_ref
from orchestrator_resilience import Phase
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from tests.proof.killed_canaries import DEADLY, Life, at_once, canaries, dies_at
from tests.proof.killed_canaries import Plan as LifePlan
from tests.proof.killed_orchestrators import STEPS, Chaos, Message, Plan, plan_of, run, wrong
from tests.proof.processes import deaths


def test_nothing_is_lost_while_processes_die(
    cloud: str, dataset: BigQuery, phase: Phase, tmp_path: Path
) -> None:
    """Each complete date ends with one flag, no other has one, and all verdicts are right."""
    BigQueryCompletionLog(dataset, {phase.name: phase}).setup()
    plan = plan_of(random.Random(1), phase, dates=8, messages=80)
    chaos = Chaos(seed=1, deaths=2 * len(STEPS), seconds_between_kills=5.0)
    run(chaos, plan, cloud, tmp_path)
    assert wrong(plan, phase) == []
    assert len({*deaths(tmp_path)}) > 1, "processes die, at several steps"
    assert chaos.answers.total() > len(plan.messages)


def test_what_is_wrong_is_found(
    cloud: str, dataset: BigQuery, phase: Phase, tmp_path: Path
) -> None:
    """A completion that is lost or unfounded is found everywhere where it shows."""
    BigQueryCompletionLog(dataset, {phase.name: phase}).setup()
    lacking, full, five = date(2026, 2, 8), date(2026, 2, 9), sorted(phase.expected)
    sent = tuple(
        Message(name, day, "success")
        for day in (lacking, full)
        for name in five[1 if day is lacking else 0 :]
    )
    run(
        Chaos(seed=2, instances=1, deaths=0, seconds_between_kills=60),
        Plan(sent, {}),
        cloud,
        tmp_path,
    )
    expected = Plan(sent, {lacking: phase.expected, full: phase.expected - {five[0]}})
    assert [" ".join(one.split()[:5]) for one in wrong(expected, phase)] == [
        "2026-02-08: lost in the document:",
        "2026-02-08: the flag is None,",
        "2026-02-09: in the document, and",
        "2026-02-09: the flag is Trigger(at=datetime.datetime(2026,",
        "2026-02-08: lost in the completion",
        "2026-02-08: flags in the completion",
        "2026-02-09: in the completion log,",
        "2026-02-09: flags in the completion",
        "2026-02-08: INCOMPLETE instead of TRIGGERED:",
        "2026-02-09: TRIGGERED instead of INCOMPLETE:",
    ]


def test_canaries_that_die_and_meet(
    cloud: str, dataset: BigQuery, phase: Phase, tmp_path: Path
) -> None:
    """Nothing is lost or late, and nothing comes twice without a death or a late answer."""
    del dataset
    with canaries(2, cloud, phase, tmp_path, seed=1) as world:
        found = dies_at(world, 14, DEADLY[0])[1]  # when the log was told, and Slack was not
        found += at_once(world, LifePlan(3, {"opens": 1}, {"resolves": 9}), random.Random(1))
        assert found == []
        assert (len(deaths(tmp_path)), world.gate.late, world.told[1] > 0) == (3, 1, True)


def test_what_people_were_not_told_is_found(
    cloud: str, dataset: BigQuery, phase: Phase, tmp_path: Path
) -> None:
    """Where no canary runs; and what it left behind."""
    del dataset
    with canaries(0, cloud, phase, tmp_path, seed=1) as world:
        life = Life(world)
        world.slack.accepted += [
            {"text": "▲ ERROR · 2 dates, 2026-02-09 to 02-10 · UNTRIGGERED"}
        ] * 2
        world.slack.accepted += [{"text": "ERROR, reminder · 2026-02-10 · UNTRIGGERED"}]
        left = json.dumps(
            {
                "incidents": [
                    {"kind": "UNTRIGGERED", "level": "ERROR", "opened_at": "2026-02-11T07:15:00Z"}
                ]
            }
        )
        world.documents.merge(
            month_ref(DEFAULT_CANARY, phase.name, "2026-02"), {"2026-02-10": left}
        )
        *flaws, last = [*life.flaws("opens", 1), *life.flaws_at_the_end()]
        assert last.startswith("2026-02-10 is left as Incident(")
        assert flaws == [
            "2026-02-09: log was told OPENED 0 times, at the most 1 expected",
            "2026-02-10: log was told OPENED 0 times, at the most 1 expected",
            "2026-02-09: slack was told OPENED 2 times, at the most 1 expected",
            "2026-02-10: slack was told OPENED 2 times, at the most 1 expected",
            "2026-02-10: slack was told REMINDER 1 times",
        ]
