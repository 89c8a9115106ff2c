"""The renderings of the one canonical report. Each is made from the report alone, and reads no file."""

from __future__ import annotations

from typing import Literal

from ..model import ContractError, Report
from . import canonical
from .view import DOCS, Part, Sentence, Source, State, View
from .words import LANGUAGES, words_of

__all__ = ["FORMATS", "LANGUAGES", "Format", "Part", "Sentence", "Source", "State", "View", "from_json", "render",
           "to_json"]

Format = Literal["text", "markdown", "html", "junit", "sarif", "github", "json"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "html", "junit", "sarif", "github", "json")

from_json = canonical.from_json


def to_json(report: Report, sentence: Sentence | None = None) -> str:
    """The canonical JSON, the same text for the same report; ``from_json`` reads it back to an equal report."""
    return canonical.to_json(report, sentence or registered())


def render(report: Report, format: str, language: str = "en", *, source: Source | None = None, color: bool = False,
           docs: str = DOCS, sentence: Sentence | None = None) -> str:
    """The report in one of ``FORMATS``, ending with a newline.

    :param language: of ``LANGUAGES``; the JSON has all of them.
    :param source: gives the line of source at a place, for text and HTML; it leaves out lines that hold a secret.
    :param color: escape sequences for a terminal, in text alone.
    :param docs: where the codes are explained, for SARIF: a file of the repository, or its address on the web.
    :param sentence: what is said of a finding, when it is not the registry of codes that says it.
    :raises ContractError: a format or language that there is none of.
    """
    view = View(report, words_of(language), sentence or registered(), source, docs)
    # Each is imported when it is asked for: all of them take as long as a check.
    match format:
        case "text":
            from .text import as_text

            return as_text(view, color=color)
        case "markdown":
            from .markdown import as_markdown

            return as_markdown(view)
        case "html":
            from .html import as_html

            return as_html(view)
        case "junit":
            from .junit import as_junit

            return as_junit(view)
        case "sarif":
            from .sarif import as_sarif

            return as_sarif(view)
        case "github":
            from .github import as_github

            return as_github(view)
        case "json":
            return to_json(report, sentence)
    raise ContractError(f"There is no report in the format {format!r}.", f"Use one of: {', '.join(FORMATS)}.")


def registered() -> Sentence:
    """The sentences of the registry, imported when they are needed: the renderings know of no code."""
    from ..codes import sentence

    return sentence
