"""Pages of HTML from the templates beside this file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from hmn.report.chart import pruning_chart, strip
from hmn.report.results import per_class, rows_of, scale_of, spread_of

_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS: dict[str, Any] = {
    "number": "{:,}".format,
    "per_class": per_class,
    "pruning_chart": pruning_chart,
    "rows": rows_of,
    "scale": scale_of,
    "spread": spread_of,
    "strip": strip,
}


def rendered(template: str, **values: Any) -> str:
    """A page's text from its template and the values in it, with the style of all pages and today's date."""
    loader = PackageLoader("hmn.report", _TEMPLATES.name)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(_FILTERS)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return environment.get_template(template).render(style=template_text("page.css"), date=date, **values)


def template_text(name: str) -> str:
    """A file of the templates as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")
