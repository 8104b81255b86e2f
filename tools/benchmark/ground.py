"""The folder that a benchmark is built in."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.benchmark.product import SETUPS
from tools.sandbox import zone
from tools.sandbox.places import prepare, remove_run
from tools.sandbox.postfix import Instance
from tools.sandbox.postgres import Cluster
from tools.sandbox.sandbox import Sandbox


class Ground:
    """root: the folder, which has one for each product and one that all systems enter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        places = prepare(root)
        self.run, self.log, self.keys = places.run, places.log, places.keys
        zone.create_keys(self.keys)


@contextmanager
def cleared(root: Path, say: Callable[[str], None]) -> Iterator[Ground]:
    """Nothing of an earlier run before, and nothing of this one after."""
    _tear_down(root)
    try:
        yield Ground(root)
    finally:
        say("tearing down")
        _tear_down(root)


def _tear_down(root: Path) -> None:
    if not root.exists():
        return
    for key in SETUPS:
        if (root / key).exists():
            Sandbox(root / key).discard()
    run = prepare(root).run
    for folder in [path for path in run.iterdir() if path.is_dir()]:
        Instance(folder).stop()
        Cluster(folder / "postgres").stop()
    remove_run(run)
    shutil.rmtree(root)
