"""The commands on tables of other people find the planted cause however the file is written, or say what to say."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.error_analysis.slices import Slice
from cv_quality.metrics.results import JsonValue
from cv_quality_tests.test_cli import Document, document

ROWS = 3_000
NAMES = ("--outcome", "failed", "--subject", "subject")
Rewrite = Callable[[pl.DataFrame], "str | bytes"]


def cvq(*arguments: str) -> Result:
    """Run a command; those of this file open no deployment."""
    return CliRunner().invoke(main, list(arguments))


def attempts(*, seed: int = 1, rate: float = 0.05) -> pl.DataFrame:
    """Attempts of 100 subjects of which those below 10 lux fail more; nothing else does."""
    rng = np.random.default_rng(seed)
    lux = np.round(np.exp(rng.normal(4, 1.5, ROWS)), 2)
    return pl.DataFrame(
        {
            "subject": [f"{one:03d}" for one in rng.integers(0, 100, ROWS)],
            "lux": lux,
            "region": rng.choice(["EU", "NA", "AS", "SA"], ROWS),
            "failed": rng.random(ROWS) < np.where(lux <= 10, 0.6, rate),
        }
    )


def with_lux(word: str) -> Rewrite:
    text = pl.when(pl.int_range(pl.len()) == 17).then(pl.lit(word)).otherwise(pl.col("lux").cast(pl.String))
    return lambda frame: frame.with_columns(lux=text).write_csv()


def with_outcome(fail: str, other: str) -> Rewrite:
    words = pl.when("failed").then(pl.lit(fail)).otherwise(pl.lit(other))
    return lambda frame: frame.with_columns(failed=words).write_csv()


def decimal_comma(frame: pl.DataFrame) -> bytes:
    lux = pl.col("lux").cast(pl.String).str.replace(".", ",", literal=True)
    return frame.with_columns(lux).write_csv(separator=";").encode("utf-8-sig")


def thousands(frame: pl.DataFrame) -> str:
    return frame.with_columns(lux=pl.Series([f"{100 * value:,.1f}" for value in frame["lux"]])).write_csv()


FILES: dict[str, tuple[Rewrite, str]] = {
    "None": (with_lux("None"), "'None' missing in lux (1)"),
    "#N/A": (with_lux("#N/A"), "'#N/A' missing in lux (1)"),
    "-": (with_lux("-"), "'-' missing in lux (1)"),
    "an odd cell": (with_lux("5 or 6"), "in lux 1 cell is no number and taken as missing: '5 or 6'"),
    "decimal comma": (decimal_comma, "UTF-8 with a byte order mark; separated by semicolons; decimal comma in lux"),
    "thousands": (thousands, "commas between thousands in lux"),
    "title and sep": (lambda frame: "sep=;\n" + frame.write_csv(separator=";"), "1 line above the header passed over"),
    "UTF-16": (lambda frame: frame.write_csv().encode("utf-16"), "UTF-16"),
    "yes and no": (with_outcome("yes", "no"), "a row fails where failed is yes"),
    "pass and fail": (with_outcome("FAIL", "PASS"), "a row fails where failed is FAIL"),
}


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def conditions(found: Document) -> list[str]:
    items = cast("list[dict[str, list[JsonValue]]]", found["slices"])
    return [Slice.from_list(item["where"]).sentence() for item in items]


@pytest.mark.parametrize("name", list(FILES))
def test_the_cause_is_found_however_the_file_is_written_and_that_is_said(tmp_path: Path, name: str) -> None:
    rewrite, said = FILES[name]
    result = cvq("slices", written(tmp_path, rewrite(attempts())), *NAMES, "--json")
    found = document(result)
    (condition,) = conditions(found)
    column, sign, bound = condition.split()
    assert (column, sign) == ("lux", "<=")
    assert float(bound) == pytest.approx(1_000 if name == "thousands" else 10, rel=0.05)
    assert said in str(found["reading"])
    assert said in result.stderr


@pytest.mark.parametrize("quotes", ["necessary", "always"])
def test_the_region_na_is_a_value_unless_it_is_named_as_missing(tmp_path: Path, quotes: str) -> None:
    rng = np.random.default_rng(2)
    failed = pl.Series(rng.random(ROWS)) < pl.Series(attempts()["region"] == "NA").cast(pl.Float64) * 0.45 + 0.05
    text = attempts().with_columns(failed=failed).write_csv(quote_style="always" if quotes == "always" else "necessary")
    file = written(tmp_path, text)
    assert conditions(document(cvq("slices", file, *NAMES, "--json"))) == ["region is NA"]
    assert conditions(document(cvq("slices", file, *NAMES, "--missing", "NA", "--json"))) == ["region is missing"]


def test_ids_are_people_by_their_text(tmp_path: Path) -> None:
    number = pl.col("subject").cast(pl.Int64)
    ids = pl.when(number % 2 == 1).then(pl.format("0{}", number // 2)).otherwise(pl.format("{}", number // 2))
    found = document(cvq("slices", written(tmp_path, attempts().with_columns(ids).write_csv()), *NAMES, "--json"))
    assert found["n_subjects"] == 100


def test_signs_are_refused_until_it_is_said_which_fails(tmp_path: Path) -> None:
    file = written(tmp_path, with_outcome("1", "-1")(attempts()))
    refused = cvq("slices", file, *NAMES)
    assert refused.exit_code == 1
    assert '--failed-when "failed=1"' in refused.stderr
    said = ("--failed-when", "failed=1", "--exclude", "failed")
    found = document(cvq("slices", file, *said, "--subject", "subject", "--json"))
    assert found["n_failures"] == attempts()["failed"].sum()
    assert len(conditions(found)) == 1


@pytest.mark.parametrize("more", [[], ["--outcome", "failed", "--failed-when", "failed=1"]])
def test_what_failed_is_named_in_exactly_one_way(tmp_path: Path, more: list[str]) -> None:
    refused = cvq("slices", written(tmp_path, attempts().write_csv()), *more)
    assert refused.exit_code == 2
    assert "either --outcome COL or --failed-when" in refused.stderr


def test_columns_that_are_not_searched_are_printed_and_the_page_says_how_it_was_read(tmp_path: Path) -> None:
    frame = attempts().with_row_index("attempt").with_columns(site=pl.lit("x"), k=pl.lit("a"))
    page, file = tmp_path / "why.html", written(tmp_path, frame.write_csv(separator=";"))
    told = cvq("slices", file, *NAMES, "--report", str(page))
    assert "Not searched: attempt (an identifier: 3000 values in 3000 rows)\n" in told.stdout
    assert "Not searched: site, k (constant)\n" in told.stdout
    assert "separated by semicolons" in page.read_text()


def test_two_tables_pair_people_by_text_though_one_id_is_no_number(tmp_path: Path) -> None:
    before, after = attempts(), attempts(seed=3, rate=0.12)
    odd = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("A02")).otherwise("subject").alias("subject")
    signs = pl.when("failed").then(1).otherwise(-1).alias("failed")
    files = [written(tmp_path, before.with_columns(signs).write_csv(), "before.csv")]
    files.append(written(tmp_path, after.with_columns(odd, signs).write_csv(), "after.csv"))
    assert '--failed-when "failed=1"' in cvq("attribute", *files, *NAMES).stderr
    found = document(cvq("attribute", *files, "--failed-when", "failed=1", "--subject", "subject", "--json"))
    assert (found["n_subjects"], found["n_paired"]) == (101, 100)
    assert (found["rate_before"], found["rate_after"]) == (before["failed"].mean(), after["failed"].mean())


def test_columns_that_two_tables_do_not_share_are_printed_with_the_reason(tmp_path: Path) -> None:
    files = [written(tmp_path, attempts().with_columns(site=pl.lit("x")).write_csv(), "before.csv")]
    files.append(written(tmp_path, attempts(seed=3).drop("region").write_csv(), "after.csv"))
    page = tmp_path / "change.html"
    told = cvq("attribute", *files, "--outcome", "failed", "--report", str(page))
    assert "Not searched: region, site (only in the table 'before')" in told.stdout
    assert "only in the table &#39;before&#39;" in page.read_text()


def newcomer() -> pl.DataFrame:
    """30,000 attempts of 15 columns as a log has them; the second phone rejects in dim light, by its score."""
    rng, n = np.random.default_rng(4), 30_000
    subject, lux = rng.integers(0, 400, n), np.round(np.exp(rng.normal(4.5, 1.4, n)), 1)
    phone = rng.choice(["P1", "P2", "P3"], n)
    score = np.round(0.55 + rng.normal(0, 0.08, n) - 0.28 * ((lux <= 12) & (phone == "P2")), 4)
    return pl.DataFrame(
        {
            "attempt_id": [f"a{row:06d}" for row in range(n)],
            "subject_id": [f"{one:04d}" for one in subject],
            "session": [f"s{one}-{rng.integers(0, 4)}" for one in subject],
            "time": [f"2026-03-{1 + row % 28:02d}T10:{row % 60:02d}:00Z" for row in range(n)],
            "phone": phone,
            "os": rng.choice(["17.1", "17.2"], n),
            "lux": lux,
            "eyewear": rng.choice(["none", "clear", "sun"], n, p=[0.6, 0.3, 0.1]),
            "yaw_deg": np.round(rng.normal(0, 12, n), 1),
            "distance_cm": np.round(rng.normal(45, 10, n), 1),
            "age": rng.integers(18, 80, n),
            "country": rng.choice(["DE", "NA", "FR"], n),
            "score": score,
            "latency": [f"{value:.0f} ms" for value in rng.normal(300, 40, n)],
            "result": np.where(score < 0.38, "REJECT", "ACCEPT"),
        }
    )


def test_a_newcomer_gets_from_a_log_to_the_root_cause_in_one_command(tmp_path: Path) -> None:
    file = written(tmp_path, newcomer().write_csv(), "log.csv")
    found = document(cvq("slices", file, "--failed-when", "result=REJECT", "--subject", "subject_id", "--json"))
    (condition,) = conditions(found)
    phone, lux = condition.split(" and ")
    assert phone == "phone is P2"
    assert float(lux.removeprefix("lux <= ")) == pytest.approx(12, rel=0.1)
    assert [item["column"] for item in cast("list[Document]", found["set_apart"])] == ["score"]
    assert "unit ms in latency" in str(found["reading"])


def test_a_score_of_its_own_distribution_is_no_root_cause_by_its_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    scored = newcomer().with_columns(
        score=pl.when(pl.col("result") == "REJECT").then(0.4).otherwise(0.7) + pl.Series(rng.normal(0, 0.1, 30_000)),
        quality_score=pl.Series(rng.random(30_000)),
    )
    file = written(tmp_path, scored.write_csv(), "log.csv")
    found = document(cvq("slices", file, "--failed-when", "result=REJECT", "--subject", "subject_id", "--json"))
    (condition,) = conditions(found)
    assert condition.startswith("phone is P2 and lux <= ")
    (item,) = cast("list[Document]", found["set_apart"])
    assert str(item["sentence"]).startswith("score is set apart: by its name an output")


def test_what_failed_is_proposed_where_nobody_says_it(tmp_path: Path) -> None:
    file = written(tmp_path, newcomer().write_csv(), "log.csv")
    told = cvq("slices", file)
    assert told.exit_code == 2
    assert '--failed-when "result=REJECT" (' in told.stderr


def test_a_table_in_which_most_rows_fail_says_so(tmp_path: Path) -> None:
    file = written(tmp_path, newcomer().write_csv(), "log.csv")
    found = document(cvq("slices", file, "--failed-when", "result=ACCEPT", "--subject", "subject_id", "--json"))
    assert "% of the rows fail: is it the passes that are named?" in str(found["reading"])


def test_a_loss_has_a_page_with_its_chart(tmp_path: Path) -> None:
    table = newcomer().with_columns(error=(pl.col("score") * -1).clip(-0.5, 0) + 0.5).drop("score", "result")
    file, page = written(tmp_path, table.write_csv(), "log.csv"), tmp_path / "why.html"
    told = cvq("slices", file, "--outcome", "error", "--subject", "subject_id", "--report", str(page))
    assert told.exit_code == 0, told.output
    assert "phone is P2" in page.read_text()


def test_rows_without_an_outcome_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = attempts().with_columns(
        pl.when(pl.int_range(pl.len()) % 50 > 0).then(pl.col("failed")),
        pl.when(pl.int_range(pl.len()) % 60 > 0).then(pl.col("subject")),
    )
    found = document(cvq("slices", written(tmp_path, rows.write_csv()), *NAMES, "--json"))
    assert found["n_rows"] == 2_900
    assert "60 of 3,000 rows have no outcome failed and are left out" in str(found["reading"])
    assert "50 of 3,000 rows name no subject and are left out" in str(found["reading"])
    (condition,) = conditions(found)
    assert condition.startswith("lux <= ")
