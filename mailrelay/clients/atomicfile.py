"""Writing a file so that a crash leaves the old content or the new, never half."""

import os
import shutil
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Give an existing file that content; it keeps owner, mode and extended attributes, and a link its target."""
    target = path.resolve()
    temporary = _written(target.parent, content)
    try:
        status = target.stat()
        os.chown(temporary, status.st_uid, status.st_gid)
        shutil.copystat(target, temporary)  # mode and extended attributes; the times are those of today
        os.utime(temporary)
        _put(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_private(path: Path, content: bytes) -> None:
    """Give the file that content, readable by us alone. A link in its place is replaced, not followed."""
    temporary = _written(path.parent, content)
    try:
        _put(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _written(folder: Path, content: bytes) -> Path:
    """A new file, mode 0600, that is safe on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=".mailrelay-", dir=folder)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return Path(name)


def _put(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
