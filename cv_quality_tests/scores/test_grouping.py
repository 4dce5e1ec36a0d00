"""Which files belong together is told from their names alone, by a rule that can be stated."""

import pytest

from cv_quality.scores.grouping import group_files


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("exp1_true.txt", "exp1_false.txt", "exp1"),
        ("impostor.txt", "genuine.txt", "scores"),
        ("dev-gen.csv", "dev-imp.csv", "dev"),
        ("Run.Mated.txt", "Run.Non-Mated.txt", "run"),
        ("linsep-positives.npy", "linsep-negatives.npy", "linsep"),
        ("exp1_scores.txt", "exp1_tp.txt", "exp1"),
        ("search.mtx", "search.mask", "search"),
    ],
)
def test_files_that_differ_in_the_telling_word_belong_together(first: str, second: str, name: str) -> None:
    (group,) = group_files([f"scores/{first}", f"scores/{second}"])
    assert [path.name for path in group.paths] == [first, second]
    assert group.name == name


@pytest.mark.parametrize(
    "names",
    [
        ("dev-1.txt", "test-1.txt"),
        ("exp1_true.txt", "exp2_false.txt"),
        ("exp1_true.txt", "exp1_genuine.txt"),
        ("exp1_true_false.txt", "exp1_false.txt"),
        ("a/exp1_true.txt", "b/exp1_false.txt"),
        ("scores-dev.csv", "dev.csv"),
        ("scores.mtx", "search.mask"),
        ("exp1_true.txt", "exp1_false.txt", "exp1_scores.txt"),
        ("truest.txt", "falsest.txt"),
    ],
)
def test_other_files_stand_alone(names: tuple[str, ...]) -> None:
    assert [len(group.paths) for group in group_files(names)] == [1] * len(names)


def test_groups_come_in_the_order_of_their_first_file() -> None:
    names = ["b_false.txt", "dev.txt", "a_true.txt", "b_true.txt", "a_false.txt"]
    assert [group.name for group in group_files(names)] == ["b", "dev", "a"]
