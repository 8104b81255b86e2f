"""Keeps what an adoption must remember in a JSON file, one for each Postfix instance."""

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mailrelay.clients.atomicfile import write_private
from mailrelay.core.errors import BadConfig
from mailrelay.core.releasing import Files, Memory

_VERSION = 1
_WAY_OUT = "move it away, and a release takes out what the settings say is ours"


class MemoryFile:
    """The memory about one Postfix configuration folder.

    folder: where such files are kept; it is made when needed. Readable by root only, as main.cf may hold passwords.
    """

    def __init__(self, folder: Path, postfix_directory: str) -> None:
        # /etc/postfix-out -> etc-postfix%2Dout: no two folders share a name.
        name = quote(postfix_directory.strip("/"), safe="/").replace("-", "%2D").replace("/", "-")
        self._directory = postfix_directory
        self.path = folder / f"joined-{name}.json"

    def load(self) -> Memory | None:
        """None if there is none. Raises BadConfig if the file is not one of ours."""
        try:
            memory = _memory(json.loads(self._read()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadConfig((f"{self.path}: cannot be read: {error.strerror}",)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadConfig((f"{self.path}: is no record of an adoption: {error}; {_WAY_OUT}",)) from error
        if memory.directory != self._directory:
            raise BadConfig((f"{self.path}: is about {memory.directory}, not {self._directory}; {_WAY_OUT}",))
        return memory

    def _read(self) -> bytes:
        """Only what we wrote ourselves. The folder may belong to the user of the services, who must not be able to
        put words into a master.cf, which is as good as being root."""
        with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise ValueError("others can write to it")
            return stream.read()

    def save(self, memory: Memory) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path, json.dumps(_data(memory), indent=1).encode())

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def joined_directories(folder: Path) -> list[str]:
    """The Postfix folders that memories in this one are about. By the names of the files, as only root reads them."""
    names = (path.stem.removeprefix("joined-") for path in sorted(folder.glob("joined-*.json")))
    return [f"/{unquote(name.replace('-', '/'))}" for name in names]


def _data(memory: Memory) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "directory": memory.directory,
        "original": _files_data(memory.original),
        "versions": [_files_data(files) for files in memory.versions],
        "units": {name: [list(unit) for unit in units] for name, units in memory.units.items()},
    }


def _memory(data: dict[str, Any]) -> Memory:
    if data["version"] != _VERSION or not data["versions"]:
        raise ValueError("unknown version")
    return Memory(
        directory=str(data["directory"]),
        original=_files(data["original"]),
        versions=tuple(_files(item) for item in data["versions"]),
        units={name: tuple(tuple(unit) for unit in units) for name, units in data["units"].items()},
    )


def _files_data(files: Files) -> dict[str, str]:
    # main.cf need not be UTF-8.
    return {
        "main.cf": base64.b64encode(files.main).decode("ascii"),
        "master.cf": base64.b64encode(files.master).decode("ascii"),
    }


def _files(data: dict[str, str]) -> Files:
    return Files(base64.b64decode(data["main.cf"], validate=True), base64.b64decode(data["master.cf"], validate=True))
