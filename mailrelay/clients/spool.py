"""Messages on their way out, so that one that comes back can be read whole: encrypted files on the host that delivers.

A convenience: without its file a failed delivery has what the report brought along. So nothing here waits for the disk
to be safe, and no trouble with it reaches the mail.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed
from mailrelay.core.ledger import OutboundId
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal, unseal

# Larger messages are encrypted and written in a thread: other mail goes on meanwhile.
_INLINE_OCTETS = 256 * 1024
_LENGTH_OCTETS = 4

_Verb = Literal["keep", "take", "drop", "sweep"]


@dataclass(frozen=True, slots=True)
class Spooled:
    """content: the message as it came in; evidence: value of its ingress header, b'' for none."""

    content: bytes
    evidence: bytes


class Spool:
    """One file a copy, named by its outbound id in hexadecimal, in folders named by the first two digits.

    folder: made when it is needed, if what it lies in is there. random: so many unpredictable octets. Nothing raises:
    trouble is counted, and logged when it begins.
    """

    def __init__(self, folder: Path, vault: Vault, random: Callable[[int], bytes]) -> None:
        self._folder = folder
        self._vault = vault
        self._random = random
        self._troubled: set[_Verb] = set()

    async def keep(self, outbound_id: OutboundId, content: bytes, evidence: bytes) -> bool:
        """Put a message there until `drop`; False if that cannot be done. Repeated, the last one stays."""
        if len(content) <= _INLINE_OCTETS:
            return self._keep(outbound_id, content, evidence)
        return await asyncio.to_thread(self._keep, outbound_id, content, evidence)

    async def take(self, outbound_id: OutboundId) -> Spooled | None:
        """The message, None if it is not there or cannot be read. It stays until `drop`."""
        path = self._path(outbound_id)
        try:
            large = path.stat().st_size > _INLINE_OCTETS  # as quick as asking a thread
        except OSError as error:
            self._tell("take", None if isinstance(error, FileNotFoundError) else error)
            return None
        return await asyncio.to_thread(self._take, outbound_id) if large else self._take(outbound_id)

    async def drop(self, ids: Iterable[OutboundId]) -> None:
        """These are no longer needed; those that are not there do not matter."""
        if paths := [self._path(outbound_id) for outbound_id in ids]:
            await asyncio.to_thread(self._remove, "drop", paths)

    async def sweep(self, older_than: datetime) -> int:
        """Remove what was put there before that time, and what crashes left; gives how many went."""
        return await asyncio.to_thread(self._sweep, older_than.timestamp())

    def _path(self, outbound_id: OutboundId) -> Path:
        name = f"{outbound_id:016x}"
        return self._folder / name[:2] / name[2:]

    def _keep(self, outbound_id: OutboundId, content: bytes, evidence: bytes) -> bool:
        path = self._path(outbound_id)
        clear = b"".join((len(evidence).to_bytes(_LENGTH_OCTETS, "big"), evidence, content))
        sealed = seal(self._vault, self._random(NONCE_OCTETS), _place(outbound_id), clear)
        try:
            try:
                _write(path, sealed)
            except FileNotFoundError:
                for folder in (self._folder, path.parent):
                    folder.mkdir(mode=0o700, exist_ok=True)
                _write(path, sealed)
        except OSError as error:
            self._tell("keep", error)
            return False
        self._tell("keep", None)
        return True

    def _take(self, outbound_id: OutboundId) -> Spooled | None:
        try:
            clear = unseal(self._vault, _place(outbound_id), self._path(outbound_id).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Malformed) as error:
            self._tell("take", error)
            return None
        self._tell("take", None)
        content_at = _LENGTH_OCTETS + int.from_bytes(clear[:_LENGTH_OCTETS], "big")
        return Spooled(clear[content_at:], clear[_LENGTH_OCTETS:content_at])

    def _remove(self, verb: _Verb, paths: Iterable[Path]) -> int:
        removed = 0
        trouble: OSError | None = None
        for path in paths:
            try:
                path.unlink()
                removed += 1
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                trouble = error
        self._tell(verb, trouble)
        return removed

    def _sweep(self, before: float) -> int:
        try:
            return self._remove("sweep", _older(self._folder, before))
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._tell("sweep", error)
            return 0

    def _tell(self, verb: _Verb, trouble: Exception | None) -> None:
        """Count trouble; log where it begins and ends, as a full disk need not be told with every message."""
        if trouble is None:
            if verb in self._troubled:
                self._troubled.discard(verb)
                log.logger().info("spool.recovered", step=verb)
            return
        metrics.SPOOL_TROUBLE.labels(verb).inc()
        if verb not in self._troubled:
            self._troubled.add(verb)
            problem = trouble.strerror if isinstance(trouble, OSError) else str(trouble)
            log.logger().warning("spool.troubled", step=verb, folder=str(self._folder), problem=problem)


def _place(outbound_id: OutboundId) -> bytes:
    """What a sealed message is bound to: the copy that it became."""
    return b"spool\0" + outbound_id.to_bytes(8, "big")


def _write(path: Path, content: bytes) -> None:
    """The whole file or none, readable by us alone; after a crash of the machine it may be missing or empty."""
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _older(folder: Path, before: float) -> Iterator[Path]:
    """Files in the folders below that were last written before that time. Raises OSError."""
    with os.scandir(folder) as shards:
        for shard in shards:
            if not shard.is_dir(follow_symlinks=False):
                continue
            with os.scandir(shard) as files:
                for file in files:
                    with contextlib.suppress(FileNotFoundError):
                        if file.stat(follow_symlinks=False).st_mtime < before:
                            yield Path(file.path)
