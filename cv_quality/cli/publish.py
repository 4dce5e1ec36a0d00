"""The command that publishes a build for people beyond the team."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from cv_quality.cli.common import JSON, open_deployment, print_document, print_rows, say


@click.command()
@click.argument("build")
@click.option("--to", "target", metavar="DIR|s3://…", help="Where to. [CVQ_PUBLISHED, else $CVQ_HOME/published]")
@click.option(
    "--what",
    "names",
    metavar="NAME,…",
    help="Products, separated by commas, of page, brief, deck, explorer, message, tickets, evidence, marts, superset, "
    "tableau. [all that are installed]",
)
@click.option("--send", "is_sent", is_flag=True, help="Send the message to those that the settings name.")
@JSON
def publish(build: str, target: str | None, names: str | None, is_sent: bool, as_json: bool) -> None:
    """Publish BUILD for leaders and colleagues: page, brief, slides, message, tickets and open questions.

    Every product prints the same numbers, those of the metric tables. Each edition has a folder of its own that is
    named by the day of its newest data and a digest, so that earlier ones stay; `index.html` beside them shows all
    builds with their trends, and links to every edition.

    \b
      cvq publish face-1.2
      cvq publish face-1.2 --what brief,deck --to /mnt/reviews
      cvq publish face-1.2 --to s3://bucket/quality --send
    """
    from cv_quality.publishing import publish as publishing
    from cv_quality.publishing.editions import read_edition
    from cv_quality.publishing.message import compose
    from cv_quality.publishing.products import chosen_products, not_installed
    from cv_quality.publishing.sending import send_message

    workspace = open_deployment()
    products = chosen_products(_listed(names))
    store = workspace.published(target)
    edition = read_edition(workspace, build)
    publication = publishing.publish(edition, products, store)
    sent = send_message(compose(edition.briefing), workspace.settings.recipients) if is_sent else ()
    if as_json:
        print_document({**asdict(publication), "store": store.uri, "sent": list(sent)})
        return
    say(publication.headline)
    rows = [{"product": file.product, "file": file.name, "bytes": file.size_bytes} for file in publication.files]
    print_rows(rows, as_json=False, title=f"{store.uri.rstrip('/')}/{publication.name}")
    left_out = {item.product: item.reason for item in publication.left_out} | ({} if names else not_installed())
    for product, reason in left_out.items():
        say(f"left out     {product}: {reason}")
    if is_sent:
        say(f"sent to {', '.join(sent) or 'nobody: no recipient is set'}")
    say(f"all builds   {store.uri.rstrip('/')}/{publishing.INDEX}")


def _listed(names: str | None) -> Sequence[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]
