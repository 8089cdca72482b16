"""Pages of HTML from the templates beside this file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

_TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> str:
    """A page's text from its template and the values in it, with the style of all pages and today's date."""
    loader = PackageLoader("hmn.report", _TEMPLATES.name)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,}"
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return environment.get_template(template).render(style=template_text("page.css"), date=date, **values)


def template_text(name: str) -> str:
    """A file of the templates as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")
