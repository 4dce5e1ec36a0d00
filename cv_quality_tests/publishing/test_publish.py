"""Publishing on a real deployment: the numbers of every product are those of the mart, and earlier editions stay."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from pptx import Presentation

from cv_quality.cli import main
from cv_quality.errors import PublishingError
from cv_quality.lake.store import LocalStore
from cv_quality.metrics.results import percent
from cv_quality.publishing.editions import read_edition
from cv_quality.publishing.evidence import write_evidence
from cv_quality.publishing.product import Edition
from cv_quality.publishing.products import PRODUCTS as OFFERED
from cv_quality.publishing.products import chosen_products, is_installed
from cv_quality.publishing.publish import ABOUT, INDEX, Publication, PublishedFile, publications, publish
from cv_quality.publishing.tickets import TITLE_LETTERS, write_tickets
from cv_quality.reports.briefing import Figure, ThinEvidence
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.publishing.briefings import crowded_briefing, ordinary_briefing

BUILD, EARLIER = "face-1.2", "face-1.1"
PRODUCTS = tuple(product for product in OFFERED if is_installed(product))


@pytest.fixture(scope="module")
def edition(history: History) -> Edition:
    return read_edition(open_workspace(history.home), BUILD)


@pytest.fixture(scope="module")
def published(edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> tuple[Publication, Path]:
    root = tmp_path_factory.mktemp("published")
    return publish(edition, PRODUCTS, LocalStore(str(root))), root


def printed_figures(edition: Edition) -> Iterator[Figure]:
    """Those that every product prints: the first change and what mending the first cause gains."""
    yield from edition.briefing.changes[0].figures
    if edition.briefing.gain:
        yield from edition.briefing.gain.figures


def words_of(root: Path, publication: Publication) -> dict[str, str]:
    """The text of each product that is one, by its name."""
    folder = root / publication.name
    deck = Presentation(str(folder / "deck/deck.pptx"))
    shown = [shape.text_frame.text for slide in deck.slides for shape in slide.shapes if shape.has_text_frame]
    page = re.sub(r"<[^>]+>", " ", (folder / "page/report.html").read_text())
    return {
        "page": unescape(page),
        "deck": "\n".join(shown),
        "message": (folder / "message/message.txt").read_text(),
        "slack": (folder / "message/slack.json").read_text(),
        "index": unescape(re.sub(r"<[^>]+>", " ", (root / INDEX).read_text())),
    }


def test_every_figure_of_a_briefing_is_its_row_of_the_mart(edition: Edition) -> None:
    briefing = edition.briefing
    figures = [figure for change in briefing.changes for figure in change.figures]
    figures += [figure for cause in briefing.causes if cause.gain for figure in cause.gain.figures]
    assert figures
    with duckdb.connect(str(edition.workspace.settings.warehouse), read_only=True) as mart:
        for figure in figures:
            where = " AND ".join(f"{name} IS NOT DISTINCT FROM ?" for name in figure.where)
            query = f"SELECT {figure.column} FROM fct_{figure.table} WHERE {where}"
            assert mart.execute(query, list(figure.where.values())).fetchall() == [(figure.rate.value,)]


def test_products_print_the_same_digits(edition: Edition, published: tuple[Publication, Path]) -> None:
    publication, root = published
    rate = edition.briefing.changes[0].pair.build
    for product, words in words_of(root, publication).items():
        assert percent(rate.value) in words, product
    for figure in printed_figures(edition):
        assert percent(figure.rate.value) in words_of(root, publication)["deck"]


def test_an_edition_goes_by_what_it_holds(edition: Edition, published: tuple[Publication, Path]) -> None:
    publication, root = published
    again = publish(edition, PRODUCTS, LocalStore(str(root)))
    assert again.name == publication.name
    assert kept(again) == kept(publication)
    fewer = publish(edition, chosen_products(["brief"]), LocalStore(str(root)))
    assert fewer.name != publication.name
    assert {item.name for item in publications(LocalStore(str(root)))} == {fewer.name, publication.name}
    page = (root / INDEX).read_text()
    assert all(f'href="{item.name}/{item.files[0].name}"' in page for item in (fewer, publication))
    shutil.rmtree(root / fewer.name)


def kept(publication: Publication) -> list[PublishedFile]:
    """Files whose bytes are the same each time; those of Tableau's own format are not."""
    return [file for file in publication.files if file.product != "tableau"]


def test_files_are_those_of_the_list_and_private(published: tuple[Publication, Path]) -> None:
    publication, root = published
    folder = root / publication.name
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {ABOUT, *(file.name for file in publication.files)}
    assert {product.name for product in PRODUCTS} == {file.product for file in publication.files}
    assert all(path.stat().st_mode & 0o077 == 0 for path in root.rglob("*"))


def test_an_edition_that_was_not_finished_is_not_listed(published: tuple[Publication, Path], tmp_path: Path) -> None:
    publication, root = published
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy" / publication.name / ABOUT).unlink()
    assert publications(LocalStore(str(tmp_path / "copy"))) == ()


def test_no_product_asks_the_network_or_holds_a_subject(edition: Edition, published: tuple[Publication, Path]) -> None:
    subjects = _subjects(edition)
    assert subjects
    for path in published[1].rglob("*"):
        if path.suffix in {".txt", ".json", ".md", ".csv", ".eml"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [subject for subject in subjects if subject in text], path.name
        if path.suffix == ".html":
            assert not re.search(r"""(?:src|href)=["']https?://""", path.read_text()), path.name


def _subjects(edition: Edition) -> set[str]:
    from cv_quality.lake.lake import TableKey
    from cv_quality.tasks.verification.tables import METRIC_COUNTS

    keys = [TableKey(drop=drop, build=BUILD) for drop in edition.briefing.drops]
    return {str(row) for key in keys for row in edition.workspace.lake.read(METRIC_COUNTS, key)["subject_id"].unique()}


def test_tickets_carry_cause_rate_and_commands(edition: Edition, tmp_path: Path) -> None:
    briefing = ordinary_briefing()
    write_tickets(replace(edition, briefing=briefing), tmp_path)
    listed = json.loads((tmp_path / "regressions.json").read_text())
    assert len(listed["causes"]) == len(briefing.causes) > 0
    for cause, row in zip(briefing.causes, listed["causes"], strict=True):
        assert (row["condition"], row["where"], row["rate"]) == (cause.condition, cause.predicate, cause.rate.value)
        body = (tmp_path / f"cause-{cause.rank}.md").read_text()
        assert percent(cause.rate.value) in body
        assert f"cvq export {briefing.build} --slice {cause.rank}" in body
        github = json.loads((tmp_path / f"cause-{cause.rank}.github.json").read_text())
        assert body.startswith(f"# {github['title']}")
        jira = json.loads((tmp_path / f"cause-{cause.rank}.jira.json").read_text())
        assert jira["fields"]["summary"] == github["title"]
        shown = [part["content"][0]["text"] for part in jira["fields"]["description"]["content"]]
        assert "\n".join(shown) == "\n".join(line for line in github["body"].split("\n") if line)


def test_hostile_labels_neither_format_a_ticket_nor_calculate(edition: Edition, tmp_path: Path) -> None:
    crowded = crowded_briefing()
    thin = ThinEvidence('=HYPERLINK("x")', "[a](b) | *c*", 3, None)
    briefing = replace(crowded, thin=(thin,), causes=(replace(crowded.causes[0], sentence="<img src=x> [a](b) `c`"),))
    changed = replace(edition, briefing=briefing)
    write_tickets(changed, tmp_path)
    write_evidence(changed, tmp_path)
    body = (tmp_path / f"cause-{briefing.causes[0].rank}.md").read_text()
    assert "\\<img src=x\\> \\[a\\](b) \\`c\\`" in body
    assert len(body.split("\n", 1)[0]) <= TITLE_LETTERS + 2
    with (tmp_path / "open-questions.csv").open(newline="") as opened:
        (_, row) = csv.reader(opened)
    assert row == ['\'=HYPERLINK("x")', "[a](b) | *c*", "3", ""]
    assert "not known" in (tmp_path / "open-questions.md").read_text()


def test_the_page_over_all_builds_has_every_build_and_pair(published: tuple[Publication, Path]) -> None:
    words = words_of(published[1], published[0])["index"]
    assert all(build in words for build in (BUILD, EARLIER))
    assert f"{EARLIER} to {BUILD}" in words
    assert "Genuine attempts rejected (FRR)" in words


def test_what_is_due_is_not_published(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    workspace = open_workspace(tmp_path / "home")
    workspace.report_path(BUILD).unlink()
    with pytest.raises(PublishingError, match="cvq run"):
        read_edition(workspace, BUILD)


def test_the_command_publishes_what_is_asked(history: History, tmp_path: Path) -> None:
    environment = {"CVQ_HOME": str(history.home), "CVQ_THREADS": "1"}
    arguments = ["publish", BUILD, "--to", str(tmp_path / "out"), "--what", "brief,tickets", "--json"]
    done = CliRunner().invoke(main, arguments, env=environment)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {file["product"] for file in found["files"]} == {"brief", "tickets"}
    assert (tmp_path / "out" / found["name"] / "brief/brief.pdf").read_bytes().startswith(b"%PDF")
    refused = CliRunner().invoke(main, ["publish", BUILD, "--what", "bref"], env=environment)
    assert refused.exit_code == 1
    assert "'bref'" in refused.output
    assert "brief" in refused.output
