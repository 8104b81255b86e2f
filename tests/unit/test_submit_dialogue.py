"""What goes over the wire to Postfix' listener, and what every answer means. Kept connections: test_submit.py."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.clients.submit import Submitter
from mailrelay.core.errors import Unavailable
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.endpoint import Endpoint

PLAIN = Copy(
    sender="b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@bounces.relay.example",
    rcpt="real@inbox.example",
    content=(b"Subject: x\r\n\r\n", b"hello\r\n"),
    envelope_id="0123456789abcdef",
    eight_bit=False,
    smtputf8=False,
)
POSTFIX = b"250-mx.relay.example\r\n250-PIPELINING\r\n250-SIZE 36700160\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
POSTFIX += b"250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
HANGS_UP = b""


@dataclass
class Script:
    """A listener that answers each command as it is told. answers: by verb; `.` is the end of content.

    An empty answer hangs up, None says nothing at all.
    """

    answers: dict[bytes, list[bytes | None] | bytes | None] = field(default_factory=dict)
    commands: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    reads: list[bytes] = field(default_factory=list)
    connections: int = 0
    tasks: list[asyncio.Task[object]] = field(default_factory=list)

    def answer(self, verb: bytes) -> bytes | None:
        default: dict[bytes, bytes] = {
            b"": b"220 mx.relay.example ESMTP\r\n",
            b"EHLO": POSTFIX,
            b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
            b".": b"250 2.0.0 Ok: queued as 4QqQ%d\r\n" % len(self.contents),
            b"QUIT": b"221 2.0.0 Bye\r\n",
        }
        scripted = self.answers.get(verb, default.get(verb, b"250 2.1.0 Ok\r\n"))
        if isinstance(scripted, list):
            return scripted.pop(0) if scripted else default.get(verb, b"250 2.1.0 Ok\r\n")
        return scripted

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        rest = b""
        verb = b""
        try:
            while True:
                said = self.answer(verb)
                if said == HANGS_UP:
                    return
                writer.write(said or b"")
                if verb == b"DATA" and said is not None and said.startswith(b"354"):
                    verb = b"."
                    while not (b"\r\n" + rest).endswith(b"\r\n.\r\n"):
                        rest += await self._read(reader)
                    self.contents.append(rest)
                    rest = b""
                    continue
                while b"\r\n" not in rest:
                    rest += await self._read(reader)
                line, _, rest = rest.partition(b"\r\n")
                self.commands.append(line)
                verb = line.split(b" ")[0]
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        octets = await reader.read(1 << 16)
        if not octets:
            raise ConnectionResetError
        self.reads.append(octets)
        return octets


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def submitting(script: Script, folder: Path, timeout_seconds: float = 30.0) -> AsyncIterator[Submitter]:
    path = str(folder / "smtpd")
    server = await asyncio.start_unix_server(script.serve, path, limit=1 << 20)
    submitter = Submitter(Endpoint(path=path), "mx.relay.example", 1, timeout_seconds)
    try:
        yield submitter
    finally:
        submitter.close()
        server.close()
        await asyncio.gather(*script.tasks)


# -- What goes out -------------------------------------------------------------------------------------------------


async def test_a_transaction_is_one_round_trip_for_the_envelope_and_one_for_the_content(folder: Path) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        assert await submitter.submit(PLAIN) == Handed("4QqQ1")
    envelope = (
        b"MAIL FROM:<b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@bounces.relay.example>"
        b" SIZE=21 RET=HDRS ENVID=0123456789abcdef\r\nRCPT TO:<real@inbox.example> NOTIFY=FAILURE\r\nDATA\r\n"
    )
    assert script.reads[0] == b"EHLO mx.relay.example\r\n"
    assert script.reads[1] == envelope
    assert b"".join(script.reads[2:]).startswith(b"Subject: x\r\n\r\nhello\r\n.\r\n")


async def test_the_whole_message_is_asked_back_where_it_is_wanted(folder: Path) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        await submitter.submit(replace(PLAIN, return_full=True))
    assert b" SIZE=21 RET=FULL ENVID=0123456789abcdef\r\n" in script.reads[1]


@pytest.mark.parametrize(
    ("copy", "parameters"),
    [
        (PLAIN, []),
        (replace(PLAIN, eight_bit=True), [b"BODY=8BITMIME"]),
        (replace(PLAIN, smtputf8=True), [b"SMTPUTF8"]),
        (replace(PLAIN, eight_bit=True, smtputf8=True), [b"BODY=8BITMIME", b"SMTPUTF8"]),
    ],
)
async def test_parameters_are_those_that_are_needed_and_offered(
    folder: Path, copy: Copy, parameters: list[bytes]
) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        await submitter.submit(copy)
    size, *others = script.commands[1].split(b" ")[2:]
    assert size == b"SIZE=21"
    assert others == [*parameters, b"RET=HDRS", b"ENVID=0123456789abcdef"]


@pytest.mark.parametrize("hello", [b"250 mx.relay.example\r\n", b"250-mx.relay.example\r\n250 HELP\r\n"])
async def test_nothing_is_asked_of_a_listener_that_offers_nothing(folder: Path, hello: bytes) -> None:
    script = Script({b"EHLO": hello})
    async with submitting(script, folder) as submitter:
        await submitter.submit(replace(PLAIN, eight_bit=True, smtputf8=True))
    assert script.commands[1:4] == [b"MAIL FROM:<%b>" % PLAIN.sender.encode(), b"RCPT TO:<real@inbox.example>", b"DATA"]


async def test_extensions_are_read_in_any_case_and_with_parameters(folder: Path) -> None:
    script = Script({b"EHLO": b"250-mx.relay.example\r\n250-size 100\r\n250-dsn\r\n250 8BitMime\r\n"})
    async with submitting(script, folder) as submitter:
        await submitter.submit(replace(PLAIN, eight_bit=True))
    assert b" SIZE=21 BODY=8BITMIME RET=HDRS " in script.commands[1]


async def test_addresses_go_out_in_utf8(folder: Path) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        await submitter.submit(replace(PLAIN, rcpt="ré@inbox.example", smtputf8=True))
    assert script.commands[2].startswith("RCPT TO:<ré@inbox.example>".encode())


@pytest.mark.parametrize(
    ("chunks", "wire"),
    [
        ([b".\r\n"], b"..\r\n.\r\n"),
        ([b"a\r\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),  # a dot that begins a chunk begins a line
        ([b".a\r\n.b\r\n", b"..\r\n\r\n.\r\n"], b"..a\r\n..b\r\n...\r\n\r\n..\r\n.\r\n"),
        ([b"a.\r\n", b"b\r\n.\r\n"], b"a.\r\nb\r\n..\r\n.\r\n"),
        ([b"\r\n"], b"\r\n.\r\n"),
        ([], b".\r\n"),
    ],
)
async def test_dots_are_stuffed_across_chunks(folder: Path, chunks: Sequence[bytes], wire: bytes) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        await submitter.submit(replace(PLAIN, content=tuple(chunks)))
    assert script.contents == [wire]


# -- What comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "queue_id"),
    [
        (b"250 2.0.0 Ok: queued as 4XyZ12AbCdz6\r\n", "4XyZ12AbCdz6"),
        (b"250 2.0.0 Ok: queued as 0A1B2C3D4E\r\n", "0A1B2C3D4E"),
        (b"250-first line\r\n250 2.0.0 Ok: queued as 4X\r\n", "4X"),
        (b"250 Ok\r\n", ""),
        (b"250\r\n", ""),
        (b"250 2.0.0 Ok: queued as \xff\r\n", ""),
    ],
)
async def test_the_queue_id_is_read_if_it_is_told(folder: Path, answer: bytes, queue_id: str) -> None:
    async with submitting(Script({b".": answer}), folder) as submitter:
        assert await submitter.submit(PLAIN) == Handed(queue_id)


REFUSALS = {
    "sender": (b"MAIL", b"550 5.7.1 no\r\n", Refused(550, "5.7.1 no")),
    "recipient": (
        b"RCPT",
        b"550 5.1.1 <real@inbox.example>: unknown\r\n",
        Refused(550, "5.1.1 <real@inbox.example>: unknown"),
    ),
    "recipient-later": (b"RCPT", b"450 4.1.1 later\r\n", Refused(450, "4.1.1 later")),
    "data": (b"DATA", b"451 4.3.0 no\r\n", Refused(451, "4.3.0 no")),
    "content": (b".", b"552 5.3.4 too big\r\n", Refused(552, "5.3.4 too big")),
    "content-later": (b".", b"451 4.3.0 queue file write error\r\n", Refused(451, "4.3.0 queue file write error")),
    "several-lines": (b"RCPT", b"550-5.1.1 one\r\n550 5.1.1 two\r\n", Refused(550, "5.1.1 one 5.1.1 two")),
    "octets": (b"RCPT", b"550 5.1.1 caf\xe9\r\n", Refused(550, "5.1.1 caf\ufffd")),
    "endless": (b"RCPT", b"550 5.1.1 " + b"x" * 5000 + b"\r\n", Refused(550, ("5.1.1 " + "x" * 5000)[:500])),
}


@pytest.mark.parametrize(("verb", "answer", "refused"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_an_answer_and_the_next_copy_goes_through(
    folder: Path, verb: bytes, answer: bytes, refused: Refused
) -> None:
    script = Script({verb: [answer]})
    if verb == b"MAIL":  # as Postfix does, everything behind it is out of order then
        script.answers |= {b"RCPT": [b"503 5.5.1 no MAIL\r\n"], b"DATA": [b"503 5.5.1 no RCPT\r\n"]}
    if verb == b"RCPT":
        script.answers[b"DATA"] = [b"554 5.5.1 Error: no valid recipients\r\n"]
    async with submitting(script, folder) as submitter:
        assert await submitter.submit(PLAIN) == refused
        assert await submitter.submit(PLAIN) == Handed(f"4QqQ{len(script.contents)}")
    assert script.connections == 1
    assert submitter.trouble == ""


async def test_data_that_is_accepted_without_a_recipient_ends_empty(folder: Path) -> None:
    """RFC 2920 section 3.1: the listener may answer 354 all the same."""
    script = Script({b"RCPT": [b"550 5.1.1 no\r\n"], b".": [b"554 5.5.1 no valid recipients\r\n"]})
    async with submitting(script, folder) as submitter:
        assert await submitter.submit(PLAIN) == Refused(550, "5.1.1 no")
        assert await submitter.submit(PLAIN) == Handed("4QqQ2")
    assert script.contents == [b".\r\n", b"Subject: x\r\n\r\nhello\r\n.\r\n"]


async def test_any_2xx_takes_a_recipient(folder: Path) -> None:
    """RFC 5321 section 4.2.3: 251, will forward. Ending DATA empty then would send an empty message."""
    script = Script({b"RCPT": [b"251 2.1.5 will forward\r\n"]})
    async with submitting(script, folder) as submitter:
        assert await submitter.submit(PLAIN) == Handed("4QqQ1")
    assert script.contents == [b"Subject: x\r\n\r\nhello\r\n.\r\n"]


async def test_421_ends_the_connection(folder: Path) -> None:
    script = Script({b".": [b"421 4.3.2 shutting down\r\n"]})
    async with submitting(script, folder) as submitter:
        assert await submitter.submit(PLAIN) == Refused(421, "4.3.2 shutting down")
        assert await submitter.submit(PLAIN) == Handed("4QqQ2")
    assert script.connections == 2


BROKEN = {
    "greeting-hangs-up": {b"": [HANGS_UP]},
    "greeting-421": {b"": [b"421 4.3.2 All server ports are busy\r\n"]},
    "greeting-554": {b"": [b"554 5.7.1 no\r\n"]},
    "no-smtp": {b"": [b"HTTP/1.1 400 Bad Request\r\n"]},
    "hello-refused": {b"EHLO": [b"502 5.5.1 no\r\n"]},
    "hello-hangs-up": {b"EHLO": [HANGS_UP]},
    "mail-hangs-up": {b"MAIL": [HANGS_UP]},
    "mail-421-and-hangs-up": {b"MAIL": [b"421 4.3.2 bye\r\n"], b"RCPT": [HANGS_UP]},
    "rcpt-hangs-up": {b"RCPT": [HANGS_UP]},
    "data-hangs-up": {b"DATA": [HANGS_UP]},
    "content-hangs-up": {b".": [HANGS_UP]},
    "reset-refused": {b"RCPT": [b"550 5.1.1 no\r\n"], b"DATA": [b"554 no\r\n"], b"RSET": [b"421 bye\r\n"]},
    "half-an-answer": {b"MAIL": [b"250 2.1.0 O"], b"RCPT": [HANGS_UP]},
    "endless-answer": {b"MAIL": [b"250 " + b"x" * 20_000 + b"\r\n"]},
    "garbage": {b"RCPT": [b"\xff\xfe\r\n"]},
    "empty-line": {b"RCPT": [b"\r\n"]},
}


@pytest.mark.parametrize("answers", BROKEN.values(), ids=BROKEN)
async def test_a_broken_dialogue_is_unavailable_and_the_next_copy_goes_through(
    folder: Path, answers: dict[bytes, list[bytes | None]]
) -> None:
    script = Script({verb: list(said) for verb, said in answers.items()})
    async with submitting(script, folder) as submitter:
        with pytest.raises(Unavailable):
            await submitter.submit(PLAIN)
        assert str(folder) in submitter.trouble
        assert isinstance(await submitter.submit(PLAIN), Handed)
        assert submitter.trouble == ""
    assert script.connections == 2


@pytest.mark.parametrize("verb", [b"", b"EHLO", b"MAIL", b"RCPT", b"DATA"])
async def test_silence_before_the_content_is_unavailable(folder: Path, verb: bytes) -> None:
    async with submitting(Script({verb: [None]}), folder, timeout_seconds=0.05) as submitter:
        with pytest.raises(Unavailable, match="Timeout"):
            await submitter.submit(PLAIN)
        submitter.timeout_seconds = 30.0
        assert isinstance(await submitter.submit(PLAIN), Handed)


async def test_a_listener_that_is_not_there_is_unavailable(folder: Path) -> None:
    for endpoint in (Endpoint(path=str(folder / "nobody")), Endpoint("127.0.0.1", 1)):
        submitter = Submitter(endpoint, "mx.relay.example", 1, 30.0)
        for _ in range(3):  # and leaves no slot taken
            with pytest.raises(Unavailable):
                await submitter.submit(PLAIN)


async def test_a_caller_that_gives_up_leaves_the_connection_behind(folder: Path) -> None:
    """In the middle of a transaction nobody knows where the session stands."""
    script = Script({b".": [None]})
    async with submitting(script, folder) as submitter:
        task = asyncio.create_task(submitter.submit(PLAIN))
        for _ in range(30_000):
            if script.contents:
                break
            await asyncio.sleep(0.001)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        assert await submitter.submit(PLAIN) == Handed("4QqQ2")
    assert script.connections == 2


async def test_close_says_quit(folder: Path) -> None:
    script = Script()
    async with submitting(script, folder) as submitter:
        await submitter.submit(PLAIN)
        submitter.close()
        for _ in range(30_000):
            if b"QUIT" in script.commands:
                break
            await asyncio.sleep(0.001)
    assert script.commands[-1] == b"QUIT"


# -- A real server -------------------------------------------------------------------------------------------------


class Inbox:
    """Handler of aiosmtpd, which shares no code with ours."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("refuse"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return f"250 2.0.0 Ok: queued as 4QqQ{len(self.envelopes)}"


@asynccontextmanager
async def real_server(inbox: Inbox, folder: Path, connections: int) -> AsyncIterator[Submitter]:
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(inbox, enable_SMTPUTF8=True, hostname="mx.relay.example", loop=loop)

    server = await loop.create_unix_server(session, str(folder / "real"))
    submitter = Submitter(Endpoint(path=str(folder / "real")), "mx.relay.example", connections, 30.0)
    try:
        yield submitter
    finally:
        submitter.close()
        server.close()


async def test_many_copies_arrive_whole(folder: Path) -> None:
    inbox = Inbox()
    async with real_server(inbox, folder, connections=3) as submitter:
        copies = [
            replace(PLAIN, rcpt=f"{'refuse' if n % 10 == 0 else 'r'}{n}@inbox.example", content=(b"%d\r\n.\r\n" % n,))
            for n in range(100)
        ]
        outcomes = await asyncio.gather(*map(submitter.submit, copies))
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Refused if number % 10 == 0 else Handed)
    arrived = {envelope.rcpt_tos[0]: envelope.content for envelope in inbox.envelopes}
    assert arrived == {copy.rcpt: copy.content[0] for copy in copies if not copy.rcpt.startswith("refuse")}


_LINES = st.lists(st.sampled_from([b".", b"..", b"x", b"", b"\0", b"\xff", b"."]), max_size=8).map(b"".join)
_CHUNKS = st.lists(
    st.lists(_LINES, min_size=1, max_size=4).map(lambda lines: b"\r\n".join(lines) + b"\r\n"), max_size=4
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_CHUNKS, min_size=1, max_size=3))
async def test_any_content_arrives_as_it_left(folder: Path, contents: list[list[bytes]]) -> None:
    inbox = Inbox()
    async with real_server(inbox, folder, connections=1) as submitter:
        for chunks in contents:
            await submitter.submit(replace(PLAIN, content=tuple(chunks)))
    assert [envelope.content for envelope in inbox.envelopes] == [b"".join(chunks) for chunks in contents]
