"""The page as a whole: its numbers are the lake's, its text is inert, and the same lake gives the same bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import duckdb
import polars as pl
import pytest

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.errors import MissingTable
from cv_quality.gates.verdicts import ExpectationResult, Verdict, write_verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.rates import target_text
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.release.tables import RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION, FAILURE_SLICES, SLICE_TRENDS
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.parity import write_parity
from cv_quality.tasks.verification.report.page import write_failure_report
from cv_quality.tasks.verification.report.sections import CONDITIONS, FAILURES, GROUPS, NUMBERS, ROOT_CAUSES, SECTIONS
from cv_quality.tasks.verification.tables import (
    COMPARISONS,
    DET_CURVE,
    DIFFERENTIALS,
    IMPOSTOR_COUNTS,
    INTERVALS,
    OPERATING_POINTS,
    PARITY,
)
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES
from cv_quality_tests.reports.score_pages import words

BUILD, BASELINE = "face-1.2", "face-1.1"
DROPS = ("2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b")
CAUSE_MARTS = (
    "slice_searches",
    "failure_slices",
    "slice_trends",
    "change_attribution",
    "failure_clusters",
    "counterfactuals",
)
REST = (ROOT_CAUSES, GROUPS, CONDITIONS, FAILURES)
HOSTILE = "<script>alert(1)</script>&\"'"


class Evaluation(Protocol):
    lake: Lake
    root: Path

    def report(self, name: str = ..., *, baseline: str | None = ...) -> tuple[ReportSummary, str]: ...

    def source(self) -> ReportSource: ...

    def edit(self, table: Table, key: TableKey, edit: object) -> None: ...


Written = tuple[ReportSummary, str, Evaluation]


class _Page(HTMLParser):
    """What a browser would take from the page: elements, references, and text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._raw = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = "" if tag == self._raw else self._raw

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def __contains__(self, words: str) -> bool:
        return words in " ".join(" ".join(self.text).split())


def test_same_lake_gives_the_same_bytes(case: Evaluation) -> None:
    first, _ = case.report("first.html")
    second, _ = case.report("second.html")
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_another_process_with_another_hash_seed_gives_the_same_bytes(case: Evaluation) -> None:
    summary, _ = case.report()
    code = (
        "import sys; from pathlib import Path; from cv_quality.inference.registry import ModelEntry\n"
        "from cv_quality.lake.lake import Lake; from cv_quality.lake.store import open_store\n"
        "from cv_quality.reports.scope import Scope; from cv_quality.reports.section import ReportSource\n"
        "from cv_quality.tasks.verification.modalities.face import FACE\n"
        "from cv_quality.tasks.verification.report.page import write_failure_report\n"
        "from cv_quality.tasks.verification.report.sections import SECTIONS\n"
        "root = Path(sys.argv[1])\n"
        "names = ('face-1.2', 'verification', 'face', 'face-1.1', 'torch_export', 'face.pt2')\n"
        "entry = ModelEntry(*names, 'ab' * 32, 64, 0.42, ())\n"
        "lake, landing = Lake(open_store(str(root / 'lake'))), open_store(str(root / 'landing'))\n"
        f"scope = Scope('face-1.2', 'face-1.1', {DROPS!r})\n"
        "source = ReportSource(lake, landing, scope, entry, FACE, ('compare',))\n"
        "print(write_failure_report(source, SECTIONS, root / 'other.html').sha256)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(case.root)], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == summary.sha256


def test_every_defined_operating_point_is_on_the_page(written: Written) -> None:
    _, html, case = written
    points = case.lake.read(OPERATING_POINTS, TableKey(build=BUILD)).filter(
        pl.col("point") != "eer", pl.col("fnmr").is_not_null()
    )
    assert points.height == 8
    for row in points.iter_rows(named=True):
        assert f'value="{row["fnmr"]}"' in html
        assert f"{row['n_false_non_matches']:,} / {row['n_genuine']:,}" in html


def test_every_rate_by_condition_is_on_the_page(written: Written) -> None:
    _, html, case = written
    rows = case.lake.read(INTERVALS, TableKey(build=BUILD)).filter(pl.col("dimension") != "all")
    for row in rows.iter_rows(named=True):
        assert f'value="{row["value"]}"' in html
        assert f"{row['numerator']:,} / {row['denominator']:,}" in html


def test_an_undefined_target_is_shown_as_undefined_with_its_reason(written: Written) -> None:
    page = _Page(written[1])
    assert "undefined needs >= 1e6 impostor comparisons, has 74,100" in page


def test_the_header_counts_what_the_lake_holds(written: Written) -> None:
    _, html, case = written
    attempts = pl.concat([case.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop)) for drop in DROPS])
    page = _Page(html)
    assert f"Attempts {attempts.height:,}" in page
    assert f"Subjects {attempts['subject_id'].n_unique():,}" in page
    assert f"Genuine comparisons {attempts['score'].drop_nulls().len():,}" in page
    assert "Impostor comparisons 74,100" in page


def test_the_page_names_the_condition_that_fails(written: Written) -> None:
    summary, html, _ = written
    assert summary.direction == "worse"
    assert "the largest rise is at illuminance below 10 lux" in summary.verdict
    assert summary.verdict in _Page(html)


def test_without_a_baseline_there_is_no_comparison(case: Evaluation) -> None:
    case.edit(SLICE_TRENDS, TableKey(build=BUILD), lambda rows: rows.filter(pl.col("trend_build_id") != BASELINE))
    summary, html = case.report(baseline=None)
    assert summary.direction == "unknown"
    assert "there is no baseline build" in summary.verdict
    assert BASELINE not in html


def test_an_fmr_target_with_too_few_subjects_is_said_not_judged_and_never_leads(case: Evaluation) -> None:
    key = TableKey(build=BUILD)
    points = case.lake.read(OPERATING_POINTS, key).filter(pl.col("fnmr").is_not_null())
    strictest = float(points["fmr_target"].drop_nulls().sort()[0])
    why = "insufficient: without any false match 38 subjects would still allow an FMR of 0.002, above it"
    reason = pl.when(pl.col("fmr_target") == strictest).then(pl.lit(why)).otherwise("reason").alias("reason")
    case.edit(OPERATING_POINTS, key, lambda rows: rows.with_columns(reason))
    summary, html = case.report()
    row = html.split(f">FNMR at FMR {target_text(strictest)}<")[1].split("</tr>")[0]
    assert why in row
    assert "not judged" in row
    assert not summary.verdict.startswith(f"FNMR at FMR {target_text(strictest)} ")


def test_a_build_without_a_drop_is_refused() -> None:
    with pytest.raises(MissingTable, match=r"no drop of build face-9\.9"):
        Scope("face-9.9", None, ())


def test_a_build_with_nothing_but_failures_to_acquire_still_has_a_page(case: Evaluation) -> None:
    for model in (BUILD, BASELINE):
        for drop in DROPS:
            key = TableKey(build=model, drop=drop)
            case.edit(COMPARISONS, key, lambda rows: rows.head(0))
            case.edit(
                ATTEMPT_OUTCOMES,
                key,
                lambda rows: rows.with_columns(
                    outcome=pl.lit("not_acquired"),
                    score=pl.lit(None, pl.Float64),
                    device_latency_ms=pl.lit(None, pl.Float64),
                ),
            )
    on = TableKey(build=BUILD)
    reason = pl.lit("no genuine comparison was made")
    undefined = [pl.lit(None, pl.Float64).alias(name) for name in ("eer", "fmr", "fnmr", "fnmr_low", "fnmr_high")]
    case.edit(OPERATING_POINTS, on, lambda rows: rows.with_columns(*undefined, reason=reason))
    case.edit(INTERVALS, on, lambda rows: rows.filter(pl.col("metric") == "fta"))
    case.edit(IMPOSTOR_COUNTS, on, lambda rows: rows.head(0))
    case.edit(DET_CURVE, on, lambda rows: rows.head(0))
    for table in (FAILURE_SLICES, CHANGE_ATTRIBUTION):
        case.edit(table, on, lambda rows: rows.head(0))
    summary, html = case.report()
    page = _Page(html)
    assert summary.verdict == "The data do not suffice for a statement: no genuine comparison was made."
    assert "No genuine comparison was rejected." in page
    assert "The devices logged no latency." in page
    assert "Genuine comparisons 0" in page
    by = case.lake.read(INTERVALS, on).filter(pl.col("dimension") != "all")["dimension"].unique().to_list()
    assert summary.n_charts == len(by) > 0, "what was not acquired counts under its conditions"


def test_text_from_the_data_stays_text(case: Evaluation) -> None:
    hostile = pl.lit(HOSTILE)
    for model in (BUILD, BASELINE):
        for drop in DROPS:
            renamed = pl.when(pl.col("score") < 0.5).then(hostile).otherwise(pl.col("condition_label"))
            key = TableKey(build=model, drop=drop)
            case.edit(
                ATTEMPT_OUTCOMES, key, lambda rows, r=renamed: rows.with_columns(condition_label=r, device_model=r)
            )
    write_parity(case.lake, build=BUILD, drops=DROPS, modality=FACE)
    relabel = pl.when(
        pl.col("dimension").is_in(["condition_label", "device_model"]) & pl.col("level").str.contains("(?i)o")
    )
    unique = pl.concat_str(hostile, pl.col("level"))
    case.edit(
        INTERVALS, TableKey(build=BUILD), lambda rows: rows.with_columns(level=relabel.then(unique).otherwise("level"))
    )
    for drop in DROPS:
        case.edit(QUARANTINE_PARSE, TableKey(drop=drop), lambda rows: rows.with_columns(detail=hostile))
        case.edit(
            FRAME_INDEX, TableKey(drop=drop), lambda rows: rows.with_columns(frame=pl.concat_str("frame", hostile))
        )
    _, html = case.report()
    page = _Page(html)
    assert "<script>alert" not in html
    assert HOSTILE in page
    kinds = {attributes.get("type") for attributes in page.all("script")}
    assert kinds == {"application/json", None}
    assert len([1 for attributes in page.all("script") if "type" not in attributes]) == 1


def test_the_page_refers_to_nothing_outside_itself(written: Written) -> None:
    page = _Page(written[1])
    fetched = [
        attributes.get(name)
        for _, attributes in page.elements
        for name in ("src", "href", "srcset", "poster", "action", "background")
        if name in attributes
    ]
    assert fetched
    assert all(str(value).startswith(("#", "data:")) for value in fetched)
    style = re.search(r"<style>(.*?)</style>", written[1], re.S)
    assert style is not None
    assert not re.search(r"url\(|@import", style[1])
    policy = next(item for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])
    assert "unsafe-eval" not in str(policy["content"])


def test_no_path_of_this_machine_and_no_raw_row_is_on_the_page(written: Written) -> None:
    _, html, case = written
    assert str(case.root) not in html
    assert "RAW-BIOMETRIC-ROW" not in html


def test_bars_of_the_two_classes_lie_over_each_other_and_are_not_stacked(written: Written) -> None:
    import vl_convert

    found = re.search(r'data-chart="chart-scores">(.*?)</script>', written[1], re.S)
    assert found is not None
    compiled = json.dumps(vl_convert.vegalite_to_vega(json.loads(found[1])))
    assert '"stack"' not in compiled


def test_the_page_is_small(written: Written) -> None:
    assert written[0].size_bytes < 2_500_000
    assert written[1].count("window.dispatchEvent(new Event(") == 1, "vega is embedded once, not once a chart"


def test_rejected_rows_are_counted_by_reason_and_stage(written: Written) -> None:
    page = _Page(written[1])
    assert f"out_of_range {DROPS[0]} parse attempt 3 expected yaw_deg from -90 to 90, found 91" in page
    assert f"unknown_subject {DROPS[0]} validate attempt 1" in page
    assert f"{DROPS[0]} site-a enrolled 1,483 1,480 3 1" in page


def test_repeated_images_are_named_in_pairs(written: Written) -> None:
    assert "frames/enrol-04.png = frames/enrol-05.png" in _Page(written[1])


def test_gate_verdicts_are_listed_with_what_broke(case: Evaluation) -> None:
    broken = ExpectationResult("scores are unique", "comparisons", "unique", False, False, 2_390, 7)
    write_verdict(case.lake, Verdict("compare", f"{BUILD}/{DROPS[0]}", False, {}, (broken,)))
    _, html = case.report()
    assert f"compare {BUILD}/{DROPS[0]} failed scores are unique: 7 of 2,390 rows in comparisons" in _Page(html)


def test_groups_are_shown_with_their_ratio_and_what_the_rule_says(written: Written) -> None:
    _, html, _ = written
    section = html.split('<section id="groups">')[1].split("</section>")[0]
    shown = _Page(section)
    assert "FNMR, male" in shown
    assert "1.5 times 1.3 to 1.7" in shown
    assert re.search(r'class="failed"[^>]*>fail<', section)
    assert "insufficient: 3 errors expected, 5 needed" in shown


def test_queries_on_the_page_reproduce_its_numbers(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query shown is run against the lake's files and against a warehouse with the tables it names."""
    _, html, case = written
    monkeypatch.chdir(case.root / "lake")
    queries = [unescape(text) for text in re.findall(r'<pre class="sql">(.*?)</pre>', html, re.S)]
    found = set()
    with duckdb.connect(str(case.root / "check.duckdb")) as connection:
        connection.execute(_views())
        for query in queries:
            found |= {
                value for row in connection.execute(query).fetchall() for value in row if isinstance(value, float)
            }
    shown = [float(value) for value in re.findall(r'<data class="value" value="([^"]+)"', html)]
    assert len(queries) > 20
    assert set(shown) <= found


def _views() -> str:
    """The warehouse's tables, as far as the page names them, straight over the lake."""
    quarantine = f"['{QUARANTINE_PARSE.name}/*.parquet', '{QUARANTINE_VALIDATE.name}/*.parquet']"
    return f"""
        CREATE VIEW fct_release_verdicts AS FROM read_parquet('{RELEASE_VERDICTS.name}/{BUILD}.parquet');
        CREATE VIEW fct_operating_points AS FROM read_parquet('{OPERATING_POINTS.name}/{BUILD}.parquet');
        CREATE VIEW fct_intervals AS FROM read_parquet('{INTERVALS.name}/{BUILD}.parquet');
        CREATE VIEW fct_differentials AS FROM read_parquet('{DIFFERENTIALS.name}/{BUILD}.parquet');
        CREATE VIEW fct_parity AS FROM read_parquet('{PARITY.name}/{BUILD}.parquet');
        {"".join(f"CREATE VIEW fct_{name} AS FROM read_parquet('{name}/{BUILD}.parquet');" for name in CAUSE_MARTS)}
        CREATE VIEW fct_quarantine AS SELECT drop_id, stage, reason, event_kind, count(*) AS n_rows
            FROM read_parquet({quarantine}) GROUP BY ALL;
    """


def test_importing_the_room_draws_in_no_heavy_library() -> None:
    code = (
        "import sys, cv_quality.tasks.verification.report.page\n"
        "print([m for m in ('altair', 'torch', 'polars', 'vl_convert', 'jinja2') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_navigation_anchors_and_order_follow_from_the_list_of_sections(case: Evaluation) -> None:
    sections = (NUMBERS, DATA_QUALITY, replace(DATA_QUALITY, id="again", title="Once more", link="Again"), *REST)
    write_failure_report(case.source(), sections, case.root / "report.html")
    html = (case.root / "report.html").read_text()
    page = _Page(html)
    nav = _Page(html.split("<nav")[1].split("</nav>")[0])
    links = [str(item["href"]).removeprefix("#") for item in nav.all("a")]
    assert links == [*(section.id for section in sections), "terms"]
    assert [item["id"] for item in page.all("section")] == links[:-1]
    assert "Numbers Data quality Again" in page
    assert "Once more Every row that came in" in page


def test_a_section_that_is_left_out_leaves_no_chart(case: Evaluation) -> None:
    whole, _ = case.report("whole.html")
    summary = write_failure_report(case.source(), (NUMBERS, *REST, DATA_QUALITY), case.root / "less.html")
    html = summary.path.read_text()
    assert summary.n_charts == html.count('role="img"') < whole.n_charts
    assert "chart-det" not in html


def test_conditions_are_called_as_their_modality_declares_them(case: Evaluation) -> None:
    light, *others = FACE.conditions
    assert light.bands is not None
    renamed = replace(light, level_phrase="brightness {}", bands=replace(light.bands, label="brightness in candles"))
    source = replace(case.source(), modality=replace(FACE, conditions=(renamed, *others)))
    summary = write_failure_report(source, SECTIONS, case.root / "report.html")
    html = summary.path.read_text()
    assert "the largest rise is at brightness below 10, from" in summary.verdict
    assert "FNMR by brightness in candles" in html
    assert "illuminance in lux" not in html


def test_attempts_without_a_sample_count_at_their_condition(written: Written) -> None:
    _, html, case = written
    rows = case.lake.read(INTERVALS, TableKey(build=BUILD)).filter(
        metric="fta", model_build_id=BUILD, dimension="illuminance_band"
    )
    spec = json.loads(html.split('data-chart="chart-illuminance-band">')[1].split("</script>")[0])
    squares = [row for rows in spec["datasets"].values() for row in rows if "tone" not in row]
    drawn = {(row["level"], row["counts"]) for row in squares}
    missed = rows.filter(pl.col("numerator") > 0)
    assert missed.height > 0
    assert drawn == {(row["level"], f"{row['numerator']:,} / {row['denominator']:,}") for row in missed.to_dicts()}
    text = words(html.split("FNMR and FTA by illuminance")[1].split("</table>")[0])
    assert all(f"{row['numerator']:,} / {row['denominator']:,}" in text for row in rows.to_dicts())


def test_the_page_shows_the_one_line_in_which_two_builds_differ(case: Evaluation) -> None:
    text = "build_id: {}\nsha256: ab\npreprocessing:\n- gray\n- tone_curve: {{below_lux: 10.0, gamma: {}}}\n"
    files = {BUILD: text.format(BUILD, 1.4).encode(), BASELINE: text.format(BASELINE, 0.5).encode()}
    target = case.root / "entries.html"
    write_failure_report(replace(case.source(), entry_files=files), SECTIONS, target)
    html = target.read_text()
    table = html.split(f"Values in which the registry entries of {BASELINE} and {BUILD} differ")[1].split("</table>")[0]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table.split("<tbody>")[1])
    assert cells == ["preprocessing: tone_curve: gamma", "0.5", "1.4"]
    assert all(hashlib.sha256(data).hexdigest() in html for data in files.values())
    same = {BUILD: files[BUILD], BASELINE: files[BUILD]}
    write_failure_report(replace(case.source(), entry_files=same), SECTIONS, target)
    assert "Their registry entries have the same values" in target.read_text()


def test_the_page_says_which_command_version_and_inputs_made_it(written: Written) -> None:
    _, html, case = written
    made = words(html.split("<dt>Made by</dt>")[1])
    assert re.match(rf"cvq report {re.escape(BUILD)} ?, cv_quality {re.escape(version('cv-quality'))}", made)
    assert str(case.source().entry.sha256) in made
    files = [case.lake.read(DROP_FILES, TableKey(drop=drop)) for drop in DROPS]
    assert all(digest in made for rows in files for digest in rows["manifest_sha256"].unique())
    newest = pl.concat(rows["captured_until"] for rows in files).sort()[-1]
    assert f"{newest:%Y-%m-%d %H:%M} UTC" in made
