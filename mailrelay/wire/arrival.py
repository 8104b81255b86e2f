"""What mail at a return path is: a bounce, news, a complaint, an automatic answer, or something else (spec 7.2)."""

from dataclasses import replace

from mailrelay.core.automatic import is_automatic
from mailrelay.core.bounce import (
    Arrival,
    AutomaticAnswer,
    Complained,
    Failed,
    Failure,
    News,
    OtherMail,
    failure,
)
from mailrelay.wire import complaint, prose
from mailrelay.wire.parts import Part, opened
from mailrelay.wire.report import RecipientStatus, Report, found_in, returned_with

# Reports come first and the returned message last, which may be as large as it likes.
_MAX_OCTETS = 1 << 20
_MAX_FAILURES = 100
# Some hosts write error, failure or nothing at all.
_FAILED = ("fail", "error")
_OTHERWISE = ("delayed", "delivered", "relayed", "expanded")
_VAGUE = ("", "5.0.0", "4.0.0")


def read(content: bytes, sender: str) -> Arrival:
    """What a message at a return path of ours is. Never raises; costs linear time and bounded memory.

    sender: of the envelope, '' is null. Whoever knows the return path can write anything: what is read is no proof.
    """
    root = opened(content[:_MAX_OCTETS])
    whole = root if len(content) <= _MAX_OCTETS else opened(content)
    machine = not sender or prose.is_daemons(root)
    kind = root.params.get(b"report-type", b"").lower() if root.kind == "multipart/report" else None
    if machine or kind in (b"", b"delivery-status"):
        report = found_in(root, loose=machine)
        if report is not None and report.status.recipients:
            failures = _failures(report, root)
            if not failures:
                return News()
            complete = report if whole is root else found_in(whole, loose=machine) or report
            return Failed(failures, returned_with(complete.parts, closed=complete.closed))
    if kind == b"feedback-report" and (complained := complaint.structured(root)) is not None:
        return Complained(complained)
    told = prose.read(root, sender, report=kind == b"delivery-status")
    if isinstance(told, tuple):
        return Failed(told, prose.returned(whole))
    if told is not None:
        return told
    automatic = kind == b"disposition-notification" or is_automatic(root.message, sender)
    return AutomaticAnswer() if automatic else OtherMail()


def _failures(report: Report, root: Part) -> tuple[Failure, ...]:
    failed = [one for one in report.status.recipients if _has_failed(one)][:_MAX_FAILURES]
    wordless = [_recipient(one) for one in failed if not one.diagnostic_code]
    remarks = prose.codes_of(root, wordless) if wordless else {}
    return tuple(dict.fromkeys(_failure(one, remarks.get(_recipient(one), "")) for one in failed))


def _failure(one: RecipientStatus, remark: str) -> Failure:
    """remark: of the text for people, '' unless the report itself has no words."""
    # They are worth reading, but where the code is exact they do not say more.
    code = one.diagnostic_code or (remark if one.status in _VAGUE else "")
    made = failure(one.status, code, _host(one.remote_mta), _recipient(one))
    return made if made.code else replace(made, code=remark)


def _has_failed(one: RecipientStatus) -> bool:
    return one.action.startswith(_FAILED) or (one.action not in _OTHERWISE and one.status.startswith("5."))


def _recipient(one: RecipientStatus) -> str:
    """The original one is what we asked for; the final one may be somebody that nobody but the receiver knows."""
    return one.original_recipient or one.final_recipient


def _host(remote_mta: str) -> str:
    """The name, or the address, without the remarks of some."""
    return remote_mta.partition(" ")[0].partition("(")[0].rstrip(".")
