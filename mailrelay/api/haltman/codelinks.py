"""Where the buttons of mails with codes lead (haltman-api.md section 4.4)."""

from mailrelay.api.haltman.call import Call

PAGE = "confirm"  # our own, which shows what a code does before it does it


def code_link(call: Call, page: str, intent: str) -> str:
    """The address to which the code is appended, on the site that the user is on.

    page: its path on web interfaces that have one of their own, '' for ours. They want to know the intent as well.
    '': it is not known where the site is.
    """
    if not call.base_url:
        return ""
    return f"{call.base_url}{page}?intent={intent}&token=" if page else f"{call.base_url}/{PAGE}?token="
