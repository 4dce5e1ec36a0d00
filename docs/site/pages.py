"""Makes the pages of `docs/` fit for the site: README as the first, every command's help, no links out of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./|examples/)[^)]*\)")
"""A link to a file that the site does not hold: code, or an example to run."""
SHIM = re.compile(r'<script src="https://unpkg\.com/[^"]*"></script>')
WIDTH = 100


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Fill the first page and that of the commands, and drop links that lead out of the site."""
    if page.file.src_uri == "index.md":
        markdown = (ROOT / "README.md").read_text().replace("](docs/", "](")
        markdown = re.sub(r"\]\(((?:cv_quality|LICENSE|CONTRIBUTING)[^)]*)\)", r"](../\1)", markdown)
    if page.file.src_uri == "reference/cli.md":
        from cv_quality.cli import main

        markdown += "\n\n".join(_commands(main, click.Context(main, info_name="cvq", max_content_width=WIDTH)))
    return OUTSIDE.sub(r"\1", markdown)


def on_post_template(output_content: str, **_: object) -> str:
    """Do the same to pages that no Markdown is behind."""
    return SHIM.sub("", output_content)


def on_post_page(output: str, **_: object) -> str:
    """Drop the script that the theme would fetch for a search in pages opened as files; served ones do without it."""
    return SHIM.sub("", output)


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help of a command as a terminal shows it, then that of each of its commands."""
    context.terminal_width = WIDTH
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.commands[name]
            yield from _commands(child, click.Context(child, parent=context, info_name=name))
