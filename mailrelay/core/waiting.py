"""Mail that waits in the queue: who hears of it when the queue gives up? (spec section 7.9, invariant I4)."""

from datetime import datetime, timedelta

from mailrelay.core.ingress import Ingress

# Postfix gives up after five days, and bounces to whoever is said to have written.
WAITS_FOR = timedelta(days=4)


def must_end(checked: Ingress | None, now: datetime) -> bool:
    """True if a recipient that would be deferred once more is to be ended instead, with a record for its owner.

    So that Postfix never sends a report to somebody who may not have written: where SPF or an aligned DKIM signature
    passed it may, and so it may to logins, own networks and our own aliases. checked: None if the milter has not seen
    the message; then nobody knows how old it is.
    """
    if checked is None or checked.route != "smtp":
        return False
    findings = checked.findings
    proved = findings.spf.result == "pass" or any(one.result == "pass" and one.aligned for one in findings.dkim)
    return not proved and now.timestamp() - checked.time >= WAITS_FOR.total_seconds()
