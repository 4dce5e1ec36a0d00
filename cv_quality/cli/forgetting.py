"""Commands about one person's data: forget it, give it out, check the receipt of a forgetting."""

from datetime import UTC, datetime
from pathlib import Path

import click

from cv_quality.cli.common import JSON, endless_bar, open_deployment, print_document, print_rows, say


@click.command()
@click.argument("subject")
@click.option("--scan-only", is_flag=True, help="Only look, and list what holds the subject; exit code 1 if anything.")
@JSON
def forget(subject: str, scan_only: bool, as_json: bool) -> None:
    """Erase all that is held of SUBJECT, and sign a receipt; its data are never taken in again.

    Logs and shards of deliveries are written anew without it. What was made of them goes, with editions and pages, and
    `cvq run` makes it again. What cannot be reached is on the receipt.

    \b
      cvq forget demo-0007 --scan-only
      cvq forget demo-0007 && cvq run
    """
    from cv_quality.forgetting.forget import forget as forget_subject
    from cv_quality.forgetting.forget import look_for

    workspace = open_deployment()
    if scan_only:
        with endless_bar("look"):
            found = look_for(workspace, subject)
        places = [{"place": str(place)} for place in found.found]
        if as_json:
            print_document(
                {"files": found.n_files, "found": [item["place"] for item in places], "not_read": [*found.not_read]}
            )
        else:
            print_rows(places, as_json=False, title="held in")
            say(f"{found.n_files:,} files looked through, {len(found.not_read)} of them not decoded")
        if places:
            raise SystemExit(1)
        return
    with endless_bar("forget"):
        done = forget_subject(workspace, subject, now=datetime.now(UTC))
    if as_json:
        print_document(done.document | {"receipt": str(done.receipt)})
        return
    say(f"nothing of this subject is held; the receipt is {done.receipt}")
    say("`cvq run` makes again what was made with data that are gone; backups and sent copies are out of reach")


@click.command(name="export-subject")
@click.argument("subject")
@click.option(
    "--to", "target", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new or empty folder."
)
@JSON
def export_subject(subject: str, target: Path, as_json: bool) -> None:
    """Write all that is held of SUBJECT into a private folder: events, rows of every table, pictures.

    Other subjects in these rows are not named.
    """
    from cv_quality.forgetting.export import export_subject as write_export

    with endless_bar("export"):
        exported = write_export(open_deployment(), subject, target)
    if as_json:
        print_document(exported)
        return
    rows = [{"what": name, "count": count} for name, count in exported.items()]
    print_rows(rows, as_json=False, title=str(target))


@click.command(name="verify-receipt")
@click.argument("receipt", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--public-key", metavar="HEX", help="That it must be signed with. [that of this deployment]")
@JSON
def verify_receipt(receipt: Path, public_key: str | None, as_json: bool) -> None:
    """Check that RECEIPT is as this deployment signed it."""
    from cv_quality.forgetting import receipt as receipts
    from cv_quality.forgetting.places import SIGNING_KEY

    key_file = open_deployment().settings.forgetting / SIGNING_KEY
    document = receipts.verified(receipt.read_bytes(), public_key or receipts.public_key(key_file))
    if as_json:
        print_document(document)
        return
    say(f"the receipt holds: subject {document['subject']} was forgotten at {document['forgotten_at']}")
