"""Asks and edits a Postfix configuration through Postfix's own postconf, postmap and postfix commands.

Nothing is ever edited in place: postconf works on a private copy of the folder, and what it made there is what
replaces the files. Blocking, as only the command line joins and leaves.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mailrelay.clients.atomicfile import replace_file
from mailrelay.core import joincheck, joining, maincf
from mailrelay.core.errors import BadConfig, Conflict
from mailrelay.core.joining import Additions, Facts, Service
from mailrelay.core.releasing import Files

_SECONDS = 60.0
_NAMES = ("main.cf", "master.cf")


class PostfixFolder:
    """One Postfix instance, named by its configuration folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def directory(self) -> str:
        return str(self._folder)

    @property
    def queue_directory(self) -> str:
        """Where its processes work, most of them seeing it as their root."""
        return _values(self._run("postconf", "-c", self.directory, "-x", "queue_directory")[0])["queue_directory"]

    def read(self) -> Files:
        """The files as they are. Raises BadConfig if one is missing."""
        try:
            main, master = ((self._folder / name).read_bytes() for name in _NAMES)
        except OSError as error:
            text = f"{error.filename}: cannot be read: {error.strerror}; is {self._folder} a Postfix configuration?"
            raise BadConfig((text,)) from error
        return Files(main, master)

    def defaults(self, names: Sequence[str]) -> dict[str, str]:
        """What Postfix takes where main.cf says nothing."""
        return _values(self._run("postconf", "-c", self.directory, "-d", *names)[0])

    def facts(self, files: Files, domains: Sequence[str]) -> Facts:
        """What Postfix makes of these files."""
        with self._copy(files) as copy:
            expanded = _values(self._postconf(copy, "-x", *joincheck.EXPANDED))
            raw = _values(self._postconf(copy, *joining.LISTS))
            names = joining.references(raw[joining.RECIPIENT_RESTRICTIONS])
            names += maincf.texts(expanded["smtpd_restriction_classes"])
            return Facts(
                version=expanded["mail_version"],
                table_types=frozenset(self._postconf(copy, "-m").split()),
                parameters=frozenset(_values(self._postconf(copy, "-d"))),
                raw=raw,
                expanded=expanded,
                references=_values(self._postconf(copy, "-x", *names)) if names else {},
                services=self._services(copy),
                files={name: _text(Path(name)) for name in joincheck.files(expanded)},
                answers=self._answers(joincheck.questions(expanded, domains)),
            )

    def edited(self, files: Files, additions: Additions) -> tuple[Files, tuple[str, ...]]:
        """The files as postconf writes them with the additions, and what it then warns of that is new."""
        with self._copy(files) as copy:
            known = self._warnings(copy)
            # One by one: postconf adds several in an order that differs from run to run.
            for key, line in additions.services.items():
                self._postconf(copy, "-M", f"{key}={line}")
            for name, value in additions.values.items():
                self._postconf(copy, "-e", f"{name} = {value}")
                _settle(copy)
            new = tuple(text for text in self._warnings(copy) if text not in known)
            main, master = ((copy / name).read_bytes() for name in _NAMES)
        return Files(main, master), new

    def replace(self, expected: Files, new: Files, *, master_first: bool) -> None:
        """Put new files in place, each at once; owner, mode and what a link points to stay."""
        if self.read() != expected:
            raise Conflict(f"{self._folder} was changed by somebody else meanwhile: look again")
        pairs = [("main.cf", expected.main, new.main), ("master.cf", expected.master, new.master)]
        for name, old, content in reversed(pairs) if master_first else pairs:
            if content != old:
                replace_file(self._folder / name, content)

    def check(self) -> str:
        """What `postfix check` objects to, "" if nothing or if this instance never ran."""
        with self._copy(self.read()) as copy:
            queue = _values(self._postconf(copy, "-x", "queue_directory"))["queue_directory"]
        if not Path(queue).is_dir():
            return ""
        return self._try("postfix", "-c", self.directory, "check")

    def reload(self) -> str:
        """Make a running Postfix read its configuration. Returns its objection, "" if there is none."""
        return self._try("postfix", "-c", self.directory, "reload")

    @contextmanager
    def _copy(self, files: Files) -> Iterator[Path]:
        """A folder like ours but with these files; the other ones are links."""
        with tempfile.TemporaryDirectory(prefix="mailrelay-") as name:
            copy = Path(name).resolve()
            for other in self._folder.iterdir():
                if other.name not in _NAMES:
                    (copy / other.name).symlink_to(other)
            (copy / "main.cf").write_bytes(maincf.ended(files.main))
            (copy / "master.cf").write_bytes(maincf.ended(files.master))
            _settle(copy)
            yield copy

    def _postconf(self, copy: Path, *arguments: str) -> str:
        return self._run("postconf", "-c", str(copy), *arguments, copy=copy)[0]

    def _services(self, copy: Path) -> tuple[Service, ...]:
        options: dict[str, dict[str, str]] = {}
        for name, value in _values(self._postconf(copy, "-P", "-x")).items():
            key, _, parameter = name.rpartition("/")
            options.setdefault(key, {})[parameter] = value
        found = []
        for line in self._postconf(copy, "-M").splitlines():
            fields = line.split()
            if len(fields) >= 8:
                found.append(Service(fields[0], fields[1], fields[7], options.get(f"{fields[0]}/{fields[1]}", {})))
        return tuple(found)

    def _answers(self, questions: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """What tables of the host say. One that cannot be asked says nothing: Postfix cannot ask it either."""
        answers = {}
        broken: set[str] = set()  # postmap takes a second to say so, once is enough
        for table, key in questions:
            if table in broken:
                continue
            code, out, err = self._call("postmap", "-c", self.directory, "-q", key, table)
            if "fatal:" in err:
                broken.add(table)
            elif code == 0:
                answers[table, key] = out.strip()
        return answers

    def _warnings(self, copy: Path) -> list[str]:
        text = self._run("postconf", "-c", str(copy), copy=copy)[1]
        lines = [re.sub(r", line \d+", "", line) for line in text.splitlines()]
        # A parameter that was set twice is so afterwards, only with another value.
        return list(dict.fromkeys(line for line in lines if "overriding earlier entry" not in line))

    def _try(self, *command: str) -> str:
        code, out, err = self._call(*command)
        if not code:
            return ""
        # Away from a terminal Postfix tells its reasons to the log only.
        return " ".join((err or out).split()) or f"status {code}, for a reason that is in the mail log"

    def _run(self, *command: str, copy: Path | None = None) -> tuple[str, str]:
        """Output and remarks. The copy is called by the real folder's name: that is what we report and look up."""
        code, out, err = self._call(*command)
        if copy is not None:
            out, err = (text.replace(str(copy), self.directory) for text in (out, err))
        if code:
            raise BadConfig((f"{self._folder}: {command[0]} says: {' '.join(err.split())}",))
        return out, err

    def _call(self, *command: str) -> tuple[int, str, str]:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        program = shutil.which(command[0], path=path)
        if program is None:
            raise BadConfig((f"{command[0]} is not installed: there is no Postfix to join",))
        environment = {**os.environ, "PATH": path, "LC_ALL": "C"}
        try:
            done = subprocess.run(  # noqa: S603  no shell, and every argument is one of ours or of the host's own files
                [program, *command[1:]], capture_output=True, env=environment, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BadConfig((f"{' '.join(command)} does not end",)) from error
        return done.returncode, _decoded(done.stdout), _decoded(done.stderr)


def _settle(copy: Path) -> None:
    """Postfix reads a main.cf that was written in this second again and again, lest it be half written."""
    os.utime(copy / "main.cf", (0, 0))


def _values(text: str) -> dict[str, str]:
    """`name = value` lines."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _text(path: Path) -> str:
    try:
        return _decoded(path.read_bytes())
    except OSError:
        return ""


def _decoded(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
