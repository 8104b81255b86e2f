"""Which mail of a joined Postfix would not pass our milter, and so could not be delivered."""

from collections.abc import Iterator

from mailrelay.core import joining
from mailrelay.core.joining import Facts, Joining


def remarks(wanted: Joining, facts: Facts) -> Iterator[str]:
    """What the admin should know of settings that go before the list that adopt extends."""
    if not wanted.milter:
        return
    ours = joining.units(wanted)["smtpd_milters"][0]
    for place, _ in _set("smtpd_milters", facts):
        yield (
            f"{place}smtpd_milters is a list of its own: put `{ours}` at its end as well, else mail to us that comes "
            "this way has nothing that tells who sent it, and waits in the queue"
        )
    for place, value in (("", facts.expanded["smtpd_milter_maps"]), *_set("smtpd_milter_maps", facts)):
        if value:
            yield f"{place}smtpd_milter_maps = {value} goes before smtpd_milters: where it applies, add `{ours}` to it"


def _set(parameter: str, facts: Facts) -> Iterator[tuple[str, str]]:
    """(place, value) wherever master.cf sets a parameter for an smtpd."""
    for service in facts.services:
        if service.command == "smtpd" and parameter in service.options:
            yield f"master.cf: {service.key}: ", service.options[parameter]
