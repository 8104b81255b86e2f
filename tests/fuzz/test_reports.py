"""Random and damaged reports: an answer, always, and one that a database takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.wire.report import DeliveryStatus, delivery_status
from tests.unit.test_report import report

REPORT = report()
LINES = st.sampled_from(
    [
        *REPORT.splitlines(keepends=True),
        b"Content-Type: multipart/report; boundary=b1/x\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"\r\n",
    ]
)


def check(content: bytes) -> None:
    found = delivery_status(content)
    assert found is None or isinstance(found, DeliveryStatus)
    for entry in found.recipients if found else ():
        for text in (entry.final_recipient, entry.action, entry.status, entry.diagnostic_code, entry.remote_mta):
            assert "\0" not in text
            assert "\n" not in text
            assert len(text.encode()) <= 8000


@settings(max_examples=300)
@given(st.lists(LINES | st.binary(max_size=20), max_size=40).map(b"".join))
def test_shuffled_lines_never_raise(content: bytes) -> None:
    check(content)


@settings(max_examples=300)
@given(st.integers(0, len(REPORT)), st.integers(0, 200), st.binary(max_size=30))
def test_damaged_reports_never_raise(at: int, length: int, instead: bytes) -> None:
    check(REPORT[:at] + instead + REPORT[at + length :])
