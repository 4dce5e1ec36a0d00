"""Files of liveness scores, evaluated in the words of liveness: species, artefacts, non-responses, thresholds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.errors import MetricError, ScoreFileError
from cv_quality.scores.liveness import LivenessEvaluation, evaluate_liveness, presentations_of
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import write

TABLE = (
    "presentation_id,kind,pai_species,artefact_id,subject_id,pad_score,response\n"
    "1,bona_fide,,,p1,0.9,ok\n2,bona_fide,,,p2,0.4,ok\n3,bona_fide,,,p2,,capture_fail\n"
    "4,attack,mask,m1,p1,0.6,ok\n5,attack,mask,m2,p2,0.1,ok\n6,attack,mask,m2,p2,,non_response\n"
    "7,attack,print,a1,p1,0.2,ok\n8,attack,print,a1,p1,0.3,ok\n"
)
OULU_SPECIES = {"print1": r"_2\.avi$", "print2": r"_3\.avi$", "replay1": r"_4\.avi$", "replay2": r"_5\.avi$"}


def evaluated(path: Path, **how: object) -> LivenessEvaluation:
    return evaluate_liveness(read_scores(path, polarity="similarity"), **how)  # type: ignore[arg-type]


def test_table_of_presentations_is_read_with_artefacts_and_non_responses(tmp_path: Path) -> None:
    found = evaluated(write(tmp_path, "x.csv", TABLE), threshold=0.5)
    point = found.points[0]
    assert point.rates is not None
    mask, print_ = point.rates.species
    assert (mask.species, mask.rate.numerator, mask.rate.denominator, mask.unit) == ("mask", 1, 2, "artefact")
    assert (mask.non_response.numerator, mask.non_response.denominator) == (1, 3)
    assert (print_.rate.numerator, print_.rate.denominator, print_.n_artefacts) == (0, 2, 1)
    assert (point.rates.bpcer.numerator, point.rates.bpcer.denominator) == (1, 2)
    assert (point.rates.bpnrr.numerator, point.rates.bpnrr.denominator) == (1, 3)
    assert (found.n_bona_fide, found.n_attacks, found.n_no_response) == (3, 5, 2)
    assert (found.n_artefacts, found.n_subjects) == (3, 2)
    assert found.excluded == {"no_response": 2}
    assert any("insufficient for a verdict: mask, print" in warning for warning in found.warnings)


def test_words_of_verification_do_not_occur(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", TABLE)
    for options in ([], ["--json"]):
        result = CliRunner().invoke(main, ["evaluate", str(path), "--polarity", "similarity", *options])
        assert result.exit_code == 0, result.output
        shown = json.dumps({**json.loads(result.stdout), "notes": []}) if options else result.stdout
        assert "APCER" in shown
        for word in ("FMR", "FNMR", "genuine", "impostor", "fnmr", "ACER "):
            assert word not in shown


def test_threshold_of_attack_scores_is_that_at_which_attacks_begin(tmp_path: Path) -> None:
    rows = "".join(f"{score},{label}\n" for score, label in ((0.9, 0), (0.5, 0), (0.5, 1), (0.1, 1)))
    scores = read_scores(write(tmp_path, "x.csv", "attack_score,bonafide\n" + rows))
    assert scores.is_negated
    point = evaluate_liveness(scores, threshold=0.5).points[0]
    assert point.rates is not None
    assert (point.rates.bpcer.numerator, point.rates.species[0].rate.numerator) == (1, 0)
    chosen = evaluate_liveness(scores, apcer_targets=[0.5]).points[0]
    assert chosen.threshold is not None
    again = evaluate_liveness(scores, threshold=chosen.threshold).points[0]
    assert chosen.rates is not None
    assert again.rates is not None
    assert again.rates.bpcer == chosen.rates.bpcer
    assert again.rates.species == chosen.rates.species


def test_thresholds_of_a_development_set_are_tried_on_the_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for name, shift in (("devel", 0.0), ("test", 0.5)):
        kinds = ["bona_fide"] * 200 + ["mask"] * 200
        values = rng.normal([2.0 if kind == "bona_fide" else shift for kind in kinds])
        rows = "".join(
            f"{score},{'' if kind == 'bona_fide' else kind},{int(kind == 'bona_fide')}\n"
            for kind, score in zip(kinds, values, strict=True)
        )
        paths.append(write(tmp_path, f"{name}.csv", "score,species,bonafide\n" + rows))
    devel, test = (read_scores(path, polarity="similarity") for path in paths)
    own, other = (evaluate_liveness(test, devel=one, apcer_targets=[0.05]).points[-1] for one in (None, devel))
    assert (own.chosen_on, other.chosen_on) == ("these presentations", "devel.csv")
    assert own.rates is not None
    assert own.rates.worst is not None
    assert other.rates is not None
    assert other.rates.worst is not None
    assert own.rates.worst.value <= 0.05 < other.rates.worst.value
    assert evaluate_liveness(devel, apcer_targets=[0.05]).points[-1].threshold == other.threshold


def test_asvspoof_scores_have_their_attacks_as_species(tmp_path: Path) -> None:
    text = "LA_1 - bonafide 2.5\nLA_2 A07 spoof -1.5\nLA_3 A08 spoof 0.5\nLA_4 - bonafide 1.5\n"
    found = evaluate_liveness(read_scores(write(tmp_path, "cm.txt", text)), threshold=0.0)
    point = found.points[0]
    assert point.rates is not None
    assert [(one.species, one.rate.value) for one in point.rates.species] == [("A07", 0.0), ("A08", 1.0)]
    assert "independence assumed" in " ".join(found.warnings)


def test_bob_pads_table_gives_species_subjects_and_non_responses(tmp_path: Path) -> None:
    text = (
        "claimed_id,test_label,is_bonafide,attack_type,score\n"
        "1,a,True,,0.9\n2,b,True,,0.8\n1,c,False,replay,0.3\n2,d,False,replay,nan\n"
    )
    shown = presentations_of(read_scores(write(tmp_path, "x.csv", text)))
    assert shown.species_names == ("replay",)
    assert (int((~shown.has_response).sum()), shown.bona_fide_unit) == (1, "subject")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("print,a1,p1,0.3", "mask,a1,p1,0.3"), "artefact 'a1' stands under 2 species"),
        (("print,a1,p1,0.3", "print,,p1,0.3"), "1 of 5 attacks have no artefact"),
        (("mask,m2,p2,0.1", ",m2,p2,0.1"), "1 of 5 attacks have no species"),
    ],
)
def test_species_and_artefacts_that_contradict_are_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = write(tmp_path, "x.csv", TABLE.replace(*change))
    with pytest.raises(MetricError, match=message):
        evaluated(path)
    result = CliRunner().invoke(main, ["evaluate", str(path), "--polarity", "similarity"])
    assert result.exit_code == 1
    assert message in result.output
    assert "x.csv" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("bona_fide,,,p1", "bona_fide,mask,,p1"), "no attack species in a genuine row"),
        (("non_response", "asleep"), "expected a response of ok, non_response"),
    ],
)
def test_row_that_contradicts_itself_is_refused_by_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ScoreFileError, match=message):
        read_scores(write(tmp_path, "x.csv", TABLE.replace(*change)))


def test_only_non_responses_have_no_error_rates(tmp_path: Path) -> None:
    rows = "kind,species,score,response\nattack,mask,,non_response\nbona_fide,,,non_response\n"
    with pytest.raises(MetricError, match="no bona fide presentation with a response"):
        evaluated(write(tmp_path, "x.csv", rows))


def test_species_without_a_response_is_told_and_leaves_a_profile_open(tmp_path: Path) -> None:
    silent = "".join(f"{number + 9},attack,head,h{number},p1,,non_response\n" for number in range(6))
    path = write(tmp_path, "x.csv", TABLE + silent)
    profile = write(
        tmp_path, "ours.yaml", "{profile: ours, source: us, requirements: [{id: a, metric: apcer, limit: 9 %}]}"
    )
    found = evaluated(path, threshold=0.5)
    head = next(one for one in found.points[0].rates.species if one.species == "head")  # type: ignore[union-attr]
    assert (head.rate.value, head.rate.reason) == (None, "no response to any presentation")
    assert (head.non_response.numerator, head.non_response.denominator) == (6, 6)
    how = ["--polarity", "similarity", "--threshold", "0.5", "--profile", str(profile), "--json"]
    result = CliRunner().invoke(main, ["evaluate", str(path), *how])
    verdicts = {one["name"]: one["verdict"] for one in json.loads(result.stdout)["profile"]["answers"]}
    assert verdicts["head"] == "insufficient"


@pytest.mark.parametrize(("kept", "message"), [("attack", "no bona fide presentation"), ("bona_fide", "no attack")])
def test_one_class_alone_is_refused_with_what_is_missing(tmp_path: Path, kept: str, message: str) -> None:
    header, *lines = TABLE.splitlines()
    path = write(tmp_path, "x.csv", "\n".join([header, *(line for line in lines if f",{kept}," in line)]))
    result = CliRunner().invoke(main, ["evaluate", str(path), "--polarity", "similarity"])
    assert result.exit_code == 1
    assert message in result.output


def test_names_of_subjects_as_artefacts_are_warned_of(tmp_path: Path) -> None:
    rows = "".join(
        f"0.{number},{kind},{'mask' if not kind else ''},{'' if kind else f'p{number}'},p{number}\n"
        for number in range(9)
        for kind in (0, 1)
    )
    found = evaluated(write(tmp_path, "x.csv", "score,bonafide,species,artefact,subject\n" + rows), threshold=0.5)
    assert any(text.startswith("artefacts are named as the subjects are") for text in found.warnings)


def test_polarity_that_cannot_be_told_is_loud(tmp_path: Path) -> None:
    rows = "".join(f"{i % 7},{i % 2}\n" for i in range(40))
    found = evaluate_liveness(read_scores(write(tmp_path, "x.csv", "score,bonafide\n" + rows)))
    assert found.polarity == "similarity (assumed)"
    assert any("declare the polarity" in warning for warning in found.warnings)


def test_given_threshold_beyond_all_scores_is_warned_of(tmp_path: Path) -> None:
    found = evaluated(write(tmp_path, "x.csv", TABLE), threshold=5.0)
    told = "given threshold, 5: the threshold lies beyond the scores of all 2 bona fide presentations"
    assert told in found.warnings


def test_threshold_where_no_score_was_seen_near_is_warned_of(tmp_path: Path) -> None:
    rows = "".join(f"{0.9 - number / 1000},1,\n{0.1 + number / 1000},0,mask\n" for number in range(50))
    path = write(tmp_path, "x.csv", "score,bonafide,species\n" + rows)
    (warning,) = (text for text in evaluated(path, threshold=0.5).warnings if text.startswith("given threshold"))
    assert "no score was seen near the threshold" in warning
    assert not any(text.startswith("given threshold") for text in evaluated(path, threshold=0.149).warnings)


def test_id_of_two_species_and_id_without_subject_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", json.dumps({"real/p1": 0.1, "print_mask/p2": 0.9}))
    with pytest.raises(ScoreFileError, match="matches the patterns of print and mask"):
        read_scores(path, genuine_pattern="^real", species_pattern={"print": "print", "mask": "mask"})
    with pytest.raises(ScoreFileError, match="finds no subject in the id 'real/p1'"):
        read_scores(path, genuine_pattern="^real", subject_pattern="_([a-z]+)/")


def test_command_gives_the_measured_figures_of_oulu_npu(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("pad_gradgpad_quality") / "quality_rbf_intradataset_oulu_npu_test.json"
    patterns = [word for name, one in OULU_SPECIES.items() for word in ("--species-pattern", f"{name}={one}")]
    how = ["--genuine-pattern", r"_1\.avi$", "--subject-pattern", r"_(\d+)_\d\.avi$", *patterns]
    result = CliRunner().invoke(main, ["evaluate", str(path), *how, "--threshold", "0.967230", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    given, *targets = found["points"]
    counted = {
        one["species"]: (one["rate"]["numerator"], one["rate"]["denominator"]) for one in given["rates"]["species"]
    }
    assert counted == {"print1": (63, 360), "print2": (61, 359), "replay1": (94, 360), "replay2": (33, 359)}
    assert [round(point["rates"]["bpcer"]["value"], 4) for point in targets] == [0.3139, 0.4139, 0.8]
    assert round(found["eer"]["nearest"], 4) == 0.1748
    assert (given["rates"]["worst"]["species"], given["rates"]["bpcer"]["numerator"]) == ("replay1", 63)


def test_rates_are_broken_down_by_the_column_that_is_named(tmp_path: Path) -> None:
    lines = ["score,bonafide,species,artefact,subject,device"]
    for device, shift in (("old", 0.3), ("new", 0.0)):
        for number in range(60):
            lines.append(f"{0.9 - shift - 0.001 * number},1,,,s{number % 20},{device}")
            lines.append(f"{0.1 + shift + 0.005 * number},0,print,a{number % 20},s{number % 20},{device}")
    path = write(tmp_path, "x.csv", "\n".join(lines))
    found = evaluate_liveness(read_scores(path, columns="group=device"), threshold=0.58)
    by_group = {one.group: one.rates for one in found.groups}
    assert set(by_group) == {"new", "old"}
    new, old = by_group["new"], by_group["old"]
    assert new.worst is not None
    assert old.worst is not None
    assert (new.worst.value, new.bpcer.numerator, old.bpcer.numerator) == (0.0, 0, 39)
    assert old.worst.value == np.mean([0.4 + 0.005 * number >= 0.58 for number in range(60)])
    how = ["--columns", "group=device", "--threshold", "0.58", "--profile", "nist-sp-800-63a-4"]
    result = CliRunner().invoke(main, ["evaluate", str(path), *how, "--report", str(tmp_path / "x.html")])
    assert result.exit_code == 0, result.output
    groups = next(line for line in result.stdout.splitlines() if line.startswith("groups") and " old " in line)
    assert "fail" in groups
