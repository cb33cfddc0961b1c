"""The plan of faults: repeatable, and with everything in it."""

from __future__ import annotations

from collections import Counter

from agents.chaos.proxy import Trouble
from agents.chaos.run import ChaosSettings
from agents.chaos.schedule import OF_AGENTS, OF_SURROUNDINGS, Fault, plan
from agents.processes.fleet import ROLES
from tests.chaos.test_chaos import MINUTES, SEED

SESSION_SECONDS = 6.0


def test_a_seed_gives_the_same_plan_again_and_another_seed_another() -> None:
    assert plan(7, 300, 4, 10, True) == plan(7, 300, 4, 10, True)
    assert plan(7, 300, 4, 10, True) != plan(8, 300, 4, 10, True)


def test_the_full_form_has_200_kills_and_pauses_and_30_faults_of_broker_and_network() -> None:
    for seed in range(5):
        counts = Counter(event.fault for event in plan(seed, 960, 4, 10, True))
        assert sum(counts[fault] for fault in OF_AGENTS) >= 200
        assert sum(counts[fault] for fault in OF_SURROUNDINGS) >= 30
        assert all(counts[fault] for fault in Fault)


def test_a_plan_is_in_order_and_within_its_time() -> None:
    times = [event.at for event in plan(3, 120, 4, 10, True)]
    assert times == sorted(times)
    assert times[-1] < 120


def test_zombies_outlast_their_session_and_pauses_do_not() -> None:
    events = plan(1, 960, 4, 10, True)
    assert all(event.seconds > SESSION_SECONDS for event in events if event.fault is Fault.ZOMBIE)
    assert all(event.seconds < SESSION_SECONDS for event in events if event.fault is Fault.PAUSE)


def test_every_network_trouble_comes_in_a_long_run_and_no_full_disk_without_a_disk() -> None:
    events = plan(1, 960, 4, 10, False)
    assert {event.trouble for event in events if event.fault is Fault.NETWORK} == set(Trouble)
    assert Fault.DISK_FULL not in {event.fault for event in events}


def test_the_short_form_of_ci_has_every_kind_of_fault() -> None:
    settings = ChaosSettings(int(SEED), float(MINUTES))
    events = plan(settings.seed, settings.minutes * 60, settings.agent_gap, settings.surroundings_gap, True)
    assert {event.fault for event in events} >= set(Fault) - {Fault.BROKER_PAUSE}
    assert {event.role for event in events if event.fault is Fault.KILL} == set(ROLES)
