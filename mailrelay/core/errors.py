"""The exceptions of mailrelay: each is named for what the caller can do about it."""


class Malformed(Exception):
    """The same bytes will fail again."""


class Unavailable(Exception):
    """The same request may work later."""


class Busy(Unavailable):
    """Others were in the way and are through by now, most likely: it is worth another try at once."""


class Conflict(Exception):
    """Clashes with what is stored; the text says with what."""


class Absent(Exception):
    """Names something that is not stored; the text says what was looked for."""


class NoAccount(Absent):
    """The account itself is not there: for whoever asks in its name, it went in this moment."""


class BadConfig(Exception):
    """The configuration cannot be used. Only raised while starting or reloading.

    problems: one line each, `FILE: KEY: what is wrong`, all that were found.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
