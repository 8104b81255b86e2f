"""What sessions of clients find besides the desk's own: a password, a secret of the counter."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from tests.api.haltman.conftest import Desk

PASSWORD = "correct horse battery"
COUNTER = "counter-secret"


@cache
def password_hash() -> str:
    """Of PASSWORD, made in no time."""
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


async def give_password(desk: Desk) -> None:
    """root may sign in."""
    await desk.sql("update account set password_hash = %s where name = 'root'", password_hash())


def chosen_here(folder: Path) -> Mapping[str, Any]:
    """Settings for whoever needs the secret of the counter."""
    file = folder / "counter.secret"
    file.write_text(f"{COUNTER}\n")
    file.chmod(0o600)
    return {"haltman": {"counter_secret_file": str(file)}}
