"""Which file of a sandbox is where."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tools.sandbox.postfix import Instance
from tools.sandbox.postgres import Cluster

CHECKOUT = Path(__file__).resolve().parents[2]
ELSEWHERE = Path("/var/lib/mailrelay-sandbox")
# A unix socket's path fits into 107 octets, and PostgreSQL adds its own name; Postfix splits settings at white space.
_LONGEST = 70
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


@dataclass(frozen=True, slots=True)
class Places:
    """The folder of one sandbox. `run` is what other users (postgres, postfix) enter, perhaps through a link."""

    root: Path
    run: Path

    @property
    def env(self) -> Path:
        return self.root / "env"

    @property
    def config(self) -> Path:
        return self.root / "mailrelay.yaml"

    @property
    def zone(self) -> Path:
        return self.root / "example.zone"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def dkim(self) -> Path:
        return self.root / "dkim"

    @property
    def product_state(self) -> Path:
        return self.root / "state"

    @property
    def keys(self) -> Path:
        """Private keys of the neighbours that sign."""
        return self.root / "neighbours"

    @property
    def memory(self) -> Path:
        """Ports and credentials, so that a second start finds the same sandbox."""
        return self.root / "sandbox.json"

    @property
    def postgres(self) -> Path:
        return self.run / "postgres"

    @property
    def postfix(self) -> Path:
        return self.run / "postfix"

    @property
    def control(self) -> Path:
        """Pid files and the supervisor's list."""
        return self.root / "control"


def prepare(root: Path) -> Places:
    """Make the folders. What other users must enter goes elsewhere if they cannot come in here."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    link = root / "run"
    if enterable(root):
        run = link
        run.mkdir(exist_ok=True)
    else:
        ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
        run = ELSEWHERE / hashlib.sha256(str(root).encode()).hexdigest()[:12]
        if not link.is_symlink():
            remove_run(run)  # left behind by a sandbox whose folder was deleted
            link.symlink_to(run)
        run.mkdir(exist_ok=True)
    run.chmod(0o755)
    places = Places(root, run)
    for folder in (places.outside, places.log, places.control, places.product_state):
        folder.mkdir(exist_ok=True)
    return places


def remove_run(run: Path) -> None:
    """Delete the folder that other users enter, having ended what runs in it."""
    if run.exists():
        Instance(run / "postfix").stop()
        Cluster(run / "postgres").stop()
        shutil.rmtree(run)


def enterable(root: Path) -> bool:
    """Whether daemons of other users can work below this folder, which they reach by its path."""
    if len(str(root)) > _LONGEST or not _PLAIN.fullmatch(str(root)):
        return False
    return all(folder.stat().st_mode & 0o001 for folder in (root, *root.parents))
