"""Participants: the same people in every build, attributes that hang together, low light where the scenario puts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cv_quality.simulation.population import Participants, Subject, build_population, enrolment, transactions
from cv_quality.simulation.scenario import Scenario, load_scenario
from cv_quality.simulation.studies import drop_plans


@pytest.fixture(scope="module")
def demo() -> Scenario:
    return load_scenario("demo")


@pytest.fixture(scope="module")
def people(demo: Scenario) -> Participants:
    return build_population(demo, seed=1)


def share(subjects: Sequence[Subject], holds: Callable[[Subject], bool]) -> float:
    return float(np.mean([holds(subject) for subject in subjects]))


def test_the_same_seed_gives_the_same_people_and_plans(demo: Scenario, people: Participants) -> None:
    again = build_population(demo, seed=1)
    assert again.subjects == people.subjects
    np.testing.assert_array_equal(again.identities, people.identities)
    plan = drop_plans(demo)[0]
    assert transactions(demo, people, plan=plan, seed=1) == transactions(demo, again, plan=plan, seed=1)
    assert build_population(demo, seed=2).subjects != people.subjects


def test_ids_are_unique_and_consent_is_near_its_share(people: Participants) -> None:
    assert len({subject.subject_id for subject in people.subjects}) == len(people.subjects) == 120
    assert 0.58 < share(people.subjects, lambda subject: subject.has_image_consent) < 0.82


def test_innocent_attributes_are_correlated(people: Participants) -> None:
    old = [subject for subject in people.subjects if subject.age_band in ("45-59", "60+")]
    young = [subject for subject in people.subjects if subject.age_band not in ("45-59", "60+")]
    for holds in (
        lambda subject: subject.wears_glasses,
        lambda subject: subject.device.model.name == "aurora-1",
        lambda subject: subject.site == "site-a",
        lambda subject: subject.device.camera_supplier == "optera",
    ):
        assert share(old, holds) > share(young, holds) + 0.1


def test_a_device_has_one_model_supplier_and_system(people: Participants) -> None:
    devices: dict[str, object] = {}
    for subject in people.subjects:
        assert devices.setdefault(subject.device.device_id, subject.device) == subject.device


def test_low_light_gathers_in_one_sites_evenings(demo: Scenario, people: Participants) -> None:
    dim = dict.fromkeys(("site-a", "site-b"), 0)
    total = dict(dim)
    for plan in drop_plans(demo):
        for transaction in transactions(demo, people, plan=plan, seed=1):
            total[plan.site.name] += 1
            first = transaction.captures[0]
            if first.illuminance_lux < 10:
                dim[plan.site.name] += 1
                assert all(capture.illuminance_lux < 10 for capture in transaction.captures)
    assert dim["site-a"] / total["site-a"] > 4 * dim["site-b"] / total["site-b"]
    assert 0.12 < sum(dim.values()) / sum(total.values()) < 0.28


def test_retries_take_off_what_hides_the_face(demo: Scenario, people: Participants) -> None:
    for transaction in transactions(demo, people, plan=drop_plans(demo)[0], seed=1):
        for capture in transaction.captures[1:]:
            assert capture.covering == "none"
            assert capture.eyewear != "sunglasses"


def test_enrolment_is_the_same_for_every_build(demo: Scenario, people: Participants) -> None:
    subject = people.subjects[3]
    assert enrolment(demo, subject, seed=1) == enrolment(demo, subject, seed=1)
    starts_at, captures = enrolment(demo, subject, seed=1)
    assert starts_at < drop_plans(demo)[0].captured_from
    assert len(captures) == demo.enrol_frames


def test_few_transactions_claim_another_person(demo: Scenario, people: Participants) -> None:
    planned = [t for plan in drop_plans(demo) for t in transactions(demo, people, plan=plan, seed=1)]
    impostors = [t for t in planned if t.claimed is not t.subject]
    assert 0.03 < len(impostors) / len(planned) < 0.07
    assert all(t.attempts_allowed == 1 and t.claimed.site == t.subject.site for t in impostors)
