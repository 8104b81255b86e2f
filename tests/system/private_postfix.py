"""A Postfix of the test's own, gone when the test ends."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailrelay.cli.joined import How, run_adopt
from mailrelay.core.joining import Joining
from tools.sandbox import ports
from tools.sandbox.postfix import Instance


@contextmanager
def private_postfix(settings: Mapping[str, str]) -> Iterator[tuple[Instance, int]]:
    """A configured Postfix that is not running yet, and the port of its public smtpd."""
    # Not pytest's tmp_path: Postfix's own user must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="mailrelay-postfix-"))
    (port,) = ports.pick(1)
    postfix = Instance(folder)
    try:
        postfix.create(port, {"myhostname": "mx.relay.example", "mydestination": "localhost", **settings})
        yield postfix, port
    finally:
        postfix.stop()
        print(postfix.log_text())  # pytest shows it when a test failed
        shutil.rmtree(folder)


def join(postfix: Instance, wanted: Joining) -> None:
    """Adopt it, as its admin would, before it runs."""
    assert run_adopt(wanted, How(postfix.etc.parent / "state", postfix.etc, yes=True)) == 0
