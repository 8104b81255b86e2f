"""Writing a file so that a crash leaves the old content or the new, never half."""

import os
import shutil
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Give `path` that content.

    An existing file keeps its owner, mode and extended attributes, and a link its target. mode: what a file gets
    instead, given as for chmod.
    """
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            _dress(temporary, target)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _dress(temporary: Path, target: Path) -> None:
    status = target.stat()
    os.chown(temporary, status.st_uid, status.st_gid)
    shutil.copystat(target, temporary)  # mode and extended attributes; the times are those of today
    os.utime(temporary)
