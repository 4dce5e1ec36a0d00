"""Ids are found as whole words, those of others that hold them are not, and short ones only in fields for subjects."""

import pytest

from cv_quality.forgetting.words import REPLACED, Words


@pytest.mark.parametrize("text", ["person-0007", "ref-person-0007-1.png", "of person-0007.", '{"x":"person-0007"}'])
def test_an_id_is_found_as_a_whole_word(text: str) -> None:
    assert Words("person-0007").are_in([text])


@pytest.mark.parametrize("text", ["person-00071", "xperson-0007", "person-000", ""])
def test_a_longer_word_is_another_one(text: str) -> None:
    assert not Words("person-0007").are_in([text])


def test_another_subject_whose_id_holds_the_id_is_not_taken_for_it() -> None:
    words = Words("person-0007", others=("person-0007-2",))
    assert not words.are_in(["ref-person-0007-2 came"])
    assert words.are_in(["person-0007-2 came with person-0007"])


def test_names_that_are_the_subject_s_alone_are_found_too() -> None:
    assert Words("person-0007", names=("visit-0001",)).are_in(["at visit-0001"])


@pytest.mark.parametrize("subject", ["7", "p1", "20260901"])
def test_a_short_id_is_found_in_fields_for_subjects_only(subject: str) -> None:
    words = Words(subject)
    assert words.are_in([f'{{"claimed_subject_id":"{subject}"}}'])
    assert not words.are_in([f'{{"count":"{subject}"}} and {subject}'])


def test_replacing_leaves_all_other_words() -> None:
    words = Words("person-0007", others=("person-0007-2",), names=("visit-0001",))
    told = words.replaced('{"a":"person-0007","b":"person-0007-2","c":"visit-0001"}')
    assert told == f'{{"a":"{REPLACED}","b":"person-0007-2","c":"{REPLACED}"}}'
