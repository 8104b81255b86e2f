"""pgp-key create|show|rotate|publish: the service's own OpenPGP key, which signs every encrypted copy."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, now, pass_app
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from mailrelay.core.certificate import Certificate
    from mailrelay.core.servicekeys import Generation
    from mailrelay.store.servicekeys import ServiceKeyFile

ARMORED_NAME = "service-key.asc"


@click.group("pgp-key")
def pgp_key() -> None:
    """The service's OpenPGP key: it signs encrypted copies, and people encrypt replies to it."""


@pgp_key.command()
@pass_app
def create(app: App) -> None:
    """Make the first key, for the address that notifications come from."""
    file = _file(app)
    _create(app, file)
    app.one(_shown(file.read()[0], now()))
    app.remark("restart the roles, then publish it: mailrelay pgp-key publish FOLDER")


@pgp_key.command("show")
@pass_app
def show_(app: App) -> None:
    """Show all keys, the one that signs first. The others decrypt what people still encrypt to them."""
    moment = now()
    found = [_shown(one, moment, number == 0) for number, one in enumerate(_file(app).read())]
    app.text("\n\n".join(map(show.details, found)), found)


@pgp_key.command()
@pass_app
def rotate(app: App) -> None:
    """Put a new key in front: it signs from now on. Those before it decrypt for a year, then they go."""
    from mailrelay.clients.openpgp import create_service_key

    moment, address = now(), _address(app)
    file = _file(app)
    file.read()  # before a key is made
    secret, _ = create_service_key(str(address), moment)
    gone = file.rotate(secret, moment)
    app.one({**_shown(file.read()[0], moment), "removed": gone})
    app.remark("restart the roles, then publish the new key: mailrelay pgp-key publish FOLDER")


@pgp_key.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@pass_app
def publish(app: App, folder: Path) -> None:
    """Write the public key for a web server whose document root FOLDER is: Web Key Directory, and an armored file.

    The server has to answer for the service's domain or for `openpgpkey.` before it, by https.
    """
    from mailrelay.clients.openpgp import public_of
    from mailrelay.core import wkd
    from mailrelay.core.servicekeys import public_block

    newest = _file(app).read()[0]
    certificate = _certificate(newest, now())
    # All of it: what is stored of recipients' keys lacks the part that signs.
    public = public_of(newest.secret)
    files = {**wkd.files(_address(app), public), ARMORED_NAME: public_block(public)}
    for name, content in files.items():
        _put(folder / name, content)
    paths = [str(folder / name) for name in files]
    app.text("\n".join(paths), {"fingerprint": certificate.fingerprint, "written": paths})


def first_key(app: App) -> list[Path]:
    """Make the key unless there is one; gives its file if it was made."""
    file = _file(app)
    if file.path.exists():
        return []
    _create(app, file)
    return [file.path]


def _create(app: App, file: "ServiceKeyFile") -> None:
    from mailrelay.clients.openpgp import create_service_key

    moment = now()
    secret, _ = create_service_key(str(_address(app)), moment)
    file.create(secret, moment)


def _file(app: App) -> "ServiceKeyFile":
    from mailrelay.clients.atomicfile import replace_file
    from mailrelay.keyring import SERVICE_KEY
    from mailrelay.store.servicekeys import ServiceKeyFile

    return ServiceKeyFile(app.config.secrets / SERVICE_KEY, replace_file)


def _address(app: App) -> Address:
    from mailrelay.core.noticeletter import LOCAL_PART

    return Address(LOCAL_PART, app.config.service.domain)


def _shown(one: "Generation", moment: datetime, signs: bool = True) -> dict[str, object]:
    """One of the keys, without what is secret."""
    from mailrelay.clients.openpgp import public_of
    from mailrelay.core.certificate import Certificate
    from mailrelay.core.pgppackets import inspect

    found = inspect(public_of(one.secret), moment)
    certificate = found if isinstance(found, Certificate) else None
    return {
        "fingerprint": certificate and certificate.fingerprint,
        "algorithm": certificate and certificate.primary_algorithm,
        "user_ids": list(certificate.user_ids) if certificate else [],
        "signs": signs,
        "since": one.since,
        "decrypts_until": one.until,
        "expires_at": certificate and certificate.expires,
        "problem": None if isinstance(found, Certificate) else found.sentence,
    }


def _certificate(one: "Generation", moment: datetime) -> "Certificate":
    from mailrelay.clients.openpgp import public_of
    from mailrelay.core.certificate import Certificate
    from mailrelay.core.pgppackets import inspect

    found = inspect(public_of(one.secret), moment)
    if not isinstance(found, Certificate):
        raise Malformed(f"the key cannot be published: {found.sentence}")
    return found


def _put(path: Path, content: bytes) -> None:
    """A file that everybody may read: complete under its name, or not there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from error
