"""Tracking metrics: reference values, the sums written out over all matchings, sums over clips, and the edges."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import DuplicateTrack, MetricError
from cv_quality.metrics.video import tracks
from cv_quality.metrics.video.tracks import (
    NO_TRACKS,
    THRESHOLDS,
    Detections,
    TrackCounts,
    TrackScores,
    box_overlap,
    count_tracks,
    detections,
)

NO_CONFUSION = {(0, 1): [0, 0, 0, 1, 1], (1, 0): [1, 1, 0, 0, 0]}
WITH_CONFUSION = NO_CONFUSION | {(0, 0): [0, 0, 1, 0, 0], (1, 1): [0, 1, 0, 0, 0]}
SPLIT = {
    (0, 0): [1, 1, 0, 0, 0],
    (0, 3): [0, 0, 0, 1, 1],
    (1, 1): [0, 0, 1, 1, 0],
    (1, 2): [0, 0, 0, 0, 1],
    (1, 4): [1, 1, 0, 0, 0],
}
TWO_TRUE, TWO_SEEN = ["11111", "11100"], ["11110", "11111"]
SPLIT_TRUE, SPLIT_SEEN = ["11011", "11111"], ["11000", "00111", "00001", "00111", "11000"]


def present(tracks_of: list[str]) -> Detections:
    """Objects of tracks that are written as one digit for each frame."""
    places = [(frame, track) for track, word in enumerate(tracks_of) for frame in range(5) if word[frame] == "1"]
    return detections([frame for frame, _ in places], [track for _, track in places])


def toy(true: list[str], seen: list[str], overlaps: dict[tuple[int, int], list[int]]) -> TrackCounts:
    """A toy case of TrackEval's tests, its overlaps given by pair of tracks."""
    truth, predicted = present(true), present(seen)

    def overlap(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        pairs = zip(
            truth.track[rows].tolist(), predicted.track[columns].tolist(), truth.frame[rows].tolist(), strict=True
        )
        return np.array([overlaps.get((one, other), [0] * 5)[frame] for one, other, frame in pairs], dtype=np.float64)

    return count_tracks(truth, predicted, overlap=overlap)


def random_clip(seed: int, *, n_tracks: int = 3, n_frames: int = 5) -> tuple[Detections, Detections]:
    """True boxes that wander, and predicted ones that miss some, shift, and change names."""
    rng = np.random.default_rng(seed)
    places, names = rng.random((n_tracks, 2)) * 20, np.arange(n_tracks)
    true: list[tuple[int, int, list[float]]] = []
    seen: list[tuple[int, int, list[float]]] = []
    for frame in range(n_frames):
        places += rng.normal(0, 3, places.shape)
        names = rng.permutation(names) if rng.random() < 0.3 else names
        for track in range(n_tracks):
            if rng.random() < 0.8:
                true.append((frame, track, [*places[track], 20.0, 20.0]))
            if rng.random() < 0.8:
                seen.append((frame, int(names[track]), [*(places[track] + rng.normal(0, 4, 2)), 21.0, 19.0]))
    return made(true), made(seen)


def made(rows: list[tuple[int, int, list[float]]]) -> Detections:
    return detections([row[0] for row in rows], [row[1] for row in rows], np.array([row[2] for row in rows]))


def matchings(rows: list[int], columns: list[int]) -> list[list[tuple[int, int]]]:
    """Every one-to-one matching of two lists, as long as the shorter one."""
    if len(rows) <= len(columns):
        return [list(zip(rows, chosen, strict=True)) for chosen in itertools.permutations(columns, len(rows))]
    return [list(zip(chosen, columns, strict=True)) for chosen in itertools.permutations(rows, len(columns))]


class Written:
    """The metrics as their papers write them, every matching tried."""

    def __init__(self, truth: Detections, seen: Detections) -> None:
        self.truth, self.seen = truth, seen
        assert truth.boxes is not None
        assert seen.boxes is not None
        self.overlap = np.array(
            [[float(box_overlap(one[None], other[None])[0]) for other in seen.boxes] for one in truth.boxes]
        ).reshape(len(truth), len(seen))
        self.frames = sorted({*truth.frame.tolist(), *seen.frame.tolist()})

    def at(self, frame: int) -> tuple[list[int], list[int]]:
        return np.flatnonzero(self.truth.frame == frame).tolist(), np.flatnonzero(self.seen.frame == frame).tolist()

    def alignment(self, row: int, column: int) -> float:
        """The alignment of the tracks of two objects over the whole clip."""
        together = 0.0
        for frame in self.frames:
            rows, columns = self.at(frame)
            for i, j in itertools.product(rows, columns):
                if self.truth.track[i] == self.truth.track[row] and self.seen.track[j] == self.seen.track[column]:
                    others = self.overlap[i, columns].sum() + self.overlap[rows, j].sum() - self.overlap[i, j]
                    together += self.overlap[i, j] / others if others > 0 else 0.0
        sizes = (self.truth.track == self.truth.track[row]).sum() + (self.seen.track == self.seen.track[column]).sum()
        return float(together / (sizes - together))

    def hota(self) -> tuple[float, float, float]:
        """Means of HOTA, DetA and AssA over the thresholds."""
        best = []
        for frame in self.frames:
            ways = matchings(*self.at(frame))
            best += max(ways, key=lambda way: sum(self.alignment(i, j) * self.overlap[i, j] for i, j in way))
        values = []
        for threshold in THRESHOLDS:
            hits = [(i, j) for i, j in best if self.overlap[i, j] >= threshold]
            union = len(self.truth) + len(self.seen) - len(hits)
            association = sum(self.association(hits, hit) for hit in hits)
            values.append(((association / union) ** 0.5, len(hits) / union, association / max(len(hits), 1)))
        return tuple(np.mean(values, axis=0).tolist())

    def association(self, hits: list[tuple[int, int]], hit: tuple[int, int]) -> float:
        one, other = self.truth.track[hit[0]], self.seen.track[hit[1]]
        both = sum(self.truth.track[i] == one and self.seen.track[j] == other for i, j in hits)
        return float(both / ((self.truth.track == one).sum() + (self.seen.track == other).sum() - both))

    def clear(self) -> tuple[int, int, float]:
        """Matches, switches and the sum of distances."""
        last: dict[int, int] = {}
        before: set[tuple[int, int]] = set()
        n, switches, distance = 0, 0, 0.0
        for frame in self.frames:
            rows, columns = self.at(frame)
            if not rows or not columns:
                continue

            def gain(i: int, j: int, before: set[tuple[int, int]] = before) -> float:
                kept = (int(self.truth.track[i]), int(self.seen.track[j])) in before
                return (1000 * kept + self.overlap[i, j]) if self.overlap[i, j] >= 0.5 else 0.0

            way = max(matchings(rows, columns), key=lambda way: sum(gain(i, j) for i, j in way))
            before = set()
            for i, j in ((i, j) for i, j in way if self.overlap[i, j] >= 0.5):
                one, other = int(self.truth.track[i]), int(self.seen.track[j])
                switches += last.get(one, other) != other
                last[one] = other
                before.add((one, other))
                n, distance = n + 1, distance + 1 - self.overlap[i, j]
        return n, switches, distance

    def identity(self) -> int:
        true, seen = np.unique(self.truth.track).tolist(), np.unique(self.seen.track).tolist()
        agree = {
            (one, other): sum(
                self.truth.frame[i] == self.seen.frame[j] and self.overlap[i, j] >= 0.5
                for i in np.flatnonzero(self.truth.track == one)
                for j in np.flatnonzero(self.seen.track == other)
            )
            for one, other in itertools.product(true, seen)
        }
        return int(max(sum(agree[pair] for pair in way) for way in matchings(true, seen)))


@pytest.mark.parametrize(
    ("case", "mota", "idf1", "switches"),
    [
        (toy(TWO_TRUE, TWO_SEEN, NO_CONFUSION), -0.125, 8 / 17, 0),
        (toy(TWO_TRUE, TWO_SEEN, WITH_CONFUSION), 0.0, 8 / 17, 1),
        (toy(SPLIT_TRUE, SPLIT_SEEN, SPLIT), 4 / 9, 0.4, 3),
    ],
    ids=["no confusion", "with confusion", "split tracks"],
)
def test_toy_cases_get_the_values_of_trackeval(case: TrackCounts, mota: float, idf1: float, switches: int) -> None:
    scores = case.scores()
    assert (scores.mota, scores.idf1) == pytest.approx((mota, idf1), abs=1e-12)
    assert scores.n_switches == switches


def test_hota_of_the_toy_cases_is_that_of_trackeval() -> None:
    split, clean = toy(SPLIT_TRUE, SPLIT_SEEN, SPLIT).scores(), toy(TWO_TRUE, TWO_SEEN, NO_CONFUSION).scores()
    assert (split.hota, split.deta, split.assa) == pytest.approx((0.561384, 0.818182, 0.385185), abs=1e-6)
    assert (clean.hota, clean.deta, clean.assa) == pytest.approx((0.316228, 0.307692, 0.325), abs=1e-6)
    assert split.loca == 1.0


def test_tud_campus_gets_its_published_values(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("tracks_tud_campus")
    truth, seen = (
        detections(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:6])
        for rows in (np.loadtxt(folder / name, delimiter=",") for name in ("gt.txt", "test.txt"))
    )
    scores = count_tracks(truth, seen).scores()
    assert (scores.mota, scores.idf1, scores.motp) == pytest.approx((0.526462, 0.557659, 0.277201), abs=1e-6)
    assert (scores.n_false_positives, scores.n_misses, scores.n_switches) == (13, 150, 7)
    # As TrackEval 1.3.0 counts the same boxes.
    assert (scores.hota, scores.deta, scores.assa) == pytest.approx((0.391397, 0.418047, 0.369121), abs=1e-6)
    assert (scores.idp, scores.idr) == pytest.approx((0.729730, 0.451253), abs=1e-6)


@given(seed=st.integers(0, 99_999))
def test_counts_are_those_of_the_papers_with_every_matching_tried(seed: int) -> None:
    truth, seen = random_clip(seed)
    if not len(truth) or not len(seen):
        return
    counts, written = count_tracks(truth, seen), Written(truth, seen)
    scores = counts.scores()
    assert (scores.hota, scores.deta, scores.assa or 0.0) == pytest.approx(written.hota(), abs=1e-9)
    assert (counts.n_matched, counts.n_switches, counts.distance) == pytest.approx(written.clear(), abs=1e-9)
    assert counts.n_identity == written.identity()


@given(seed=st.integers(0, 99_999))
def test_the_truth_tracked_by_itself_is_perfect_under_any_names(seed: int) -> None:
    truth, _ = random_clip(seed)
    if not len(truth):
        return
    named = detections(truth.frame, [f"track {9 - name}" for name in truth.track.tolist()], truth.boxes)
    scores = count_tracks(truth, named).scores()
    perfect = (scores.hota, scores.deta, scores.assa, scores.loca, scores.mota, scores.idf1, scores.motp)
    assert perfect == pytest.approx((1, 1, 1, 1, 1, 1, 0))


@given(seed=st.integers(0, 99_999))
def test_order_of_rows_and_size_of_steps_change_nothing(seed: int) -> None:
    truth, seen = random_clip(seed)
    order = np.random.default_rng(seed).permutation(len(seen))
    assert seen.boxes is not None
    shuffled = detections(seen.frame[order], seen.track[order], seen.boxes[order])
    whole = count_tracks(truth, seen).to_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "PAIRS_AT_ONCE", 4)
        assert count_tracks(truth, shuffled).to_dict() == whole


def test_scores_of_two_clips_come_from_sums_and_not_from_means() -> None:
    one, other = toy(SPLIT_TRUE, SPLIT_SEEN, SPLIT), toy(TWO_TRUE, TWO_SEEN, NO_CONFUSION)
    both = sum([one, other], start=NO_TRACKS).scores()
    assert both.mota == pytest.approx(1 - (5 + 9) / 17)
    assert both.idf1 == pytest.approx(16 / 37)
    assert both.n_clips == 2
    # All overlaps are 1, so each threshold has the same counts.
    assert both.hota == pytest.approx(((9 * 0.385185 + 4 * 0.325) / (11 + 13)) ** 0.5, abs=1e-6)
    mean = (one.scores().hota or 0) / 2 + (other.scores().hota or 0) / 2
    assert both.hota != pytest.approx(mean, abs=1e-3)


def test_a_clip_without_truth_has_no_score_but_its_false_positives_count() -> None:
    nothing, seen = present([]), detections([1, 2], [1, 1], [[0, 0, 2, 2]] * 2)
    empty = count_tracks(detections([], [], []), seen)
    scores = empty.scores()
    assert (scores.hota, scores.mota, scores.idf1, scores.reason) == (None, None, None, "no true object")
    assert scores.n_false_positives == 2
    perfect = count_tracks(seen, seen)
    assert (empty + perfect).scores().mota == 0.0
    assert len(nothing) == 0


def test_truth_without_a_prediction_scores_0_and_has_no_association() -> None:
    scores: TrackScores = count_tracks(detections([1], [1], [[0, 0, 2, 2]]), detections([], [], [])).scores()
    assert (scores.hota, scores.deta, scores.mota, scores.idf1, scores.n_misses) == (0.0, 0.0, 0.0, 0.0, 1)
    assert (scores.assa, scores.loca, scores.motp, scores.idp) == (None, None, None, None)
    assert scores.reason == "no predicted object"


def test_a_track_twice_in_a_frame_is_a_typed_error() -> None:
    with pytest.raises(DuplicateTrack, match="found track 7 twice in frame 3") as caught:
        detections([3, 2, 3], [7, 7, 7])
    assert (caught.value.frame, caught.value.track) == (3, "7")


def test_boxes_without_area_and_missing_boxes_are_refused() -> None:
    with pytest.raises(MetricError, match="width and height above 0"):
        detections([1], [1], [[0, 0, 0, 5]])
    with pytest.raises(MetricError, match="pass boxes"):
        count_tracks(detections([1], [1]), detections([1], [1]))
    with pytest.raises(MetricError, match="overlaps from 0 to 1"):
        count_tracks(detections([1], [1]), detections([1], [1]), overlap=lambda rows, _: np.full(rows.size, 2.0))
