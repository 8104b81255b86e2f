"""Arguments as values: parsed once, here at the edge."""

from datetime import datetime
from typing import Any

import click

from mailrelay.core.address import Address, domain_name, parse_address
from mailrelay.core.errors import Malformed


class _Mailbox(click.ParamType[Address]):
    name = "mailbox"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value.strip())
        except Malformed as error:
            raise Malformed(f"{value!r}: {error}") from error


class _Domain(click.ParamType[str]):
    name = "domain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            name = domain_name(value.strip())
        except Malformed as error:
            raise Malformed(f"{value!r}: {error}") from error
        if "." not in name:
            raise Malformed(f"{value!r}: a mail domain has at least two labels")
        return name


class _Moment(click.ParamType[datetime]):
    name = "rfc3339"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(f"{value!r} is not a time such as 2026-12-31T23:59:59Z", param, ctx)
        return moment


MAILBOX = _Mailbox()
DOMAIN = _Domain()
MOMENT = _Moment()
