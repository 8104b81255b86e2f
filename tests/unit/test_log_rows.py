"""Logged tracebacks show no rows: they hold people's mailboxes."""

import json

import pytest

from mailrelay import log

ROW = "Failing row contains (1, first line\n\nsecond secret@inbox.example\nDETAIL: third secret)."


def fail() -> None:
    try:
        raise ValueError(f"violates check constraint\nDETAIL:  {ROW}\nCONTEXT:  SQL statement")
    except ValueError as error:
        raise RuntimeError("later") from error


def test_no_line_of_a_row_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    try:
        fail()
    except RuntimeError:
        log.logger().exception("it.failed")
    told = json.loads(capsys.readouterr().err)["exception"]
    assert "secret" not in told and "first line" not in told
    assert "CONTEXT:  SQL statement" in told
    assert "RuntimeError: later" in told
