"""Domains of the installation, as administrators of the Haltman API see them (haltman-api.md section 1.5)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SharedDomain:
    """One of the installation's domains. active_mx, active_ui: DNS says that it is used for mail, for the web."""

    id: int
    name: str
    active: bool
    active_mx: bool
    active_ui: bool
    visible: bool


@dataclass(frozen=True, slots=True)
class SharedDomainChange:
    """None: it stays as it is."""

    name: str | None = None
    active: bool | None = None
    visible: bool | None = None
