"""Write requirements.txt and its two companions from pyproject.toml, or check that they fit it.

python -m tools.requirements            writes them; needs uv and a package index
python -m tools.requirements --check    needs neither; tells what does not fit and ends with status 1
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
RUN, DEVELOPMENT = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
MILTER = ROOT / "requirements-milter.txt"
_COMPILE = "uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade -q"
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")
# No file may tie the project to one package index, and lock files name theirs.
_HOST = re.compile(r"https?://|--(extra-)?index-url|--find-links|--trusted-host")
_LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock")


def wanted() -> dict[Path, list[str]]:
    """What pyproject.toml asks for, by file. The development file holds everything, also what builds the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = project["project"]["dependencies"]
    build = [*project["build-system"]["requires"], "editables~=0.5"]  # hatchling's, for `pip install -e`
    milter = project["project"]["optional-dependencies"]["milter"]
    return {RUN: run, MILTER: milter, DEVELOPMENT: [*run, *project["dependency-groups"]["dev"], *build]}


def write() -> None:
    for path, names in wanted().items():
        # The run-time files first: what several pin must be the same.
        constraint = ["--constraint", str(RUN), "--constraint", str(MILTER)] if path == DEVELOPMENT else []
        subprocess.run(
            [*_COMPILE.split(), "--output-file", str(path), *constraint, "-"],
            input="\n".join(names),
            text=True,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        print(f"wrote {path.name}")


def problems() -> Iterator[str]:
    """One line for each thing that does not fit."""
    pinned: dict[str, str] = {}
    for path, names in wanted().items():
        found = _pins(path.read_text())
        for text in names:
            requirement = Requirement(text)
            version = found.get(canonicalize_name(requirement.name))
            if version is None:
                yield f"{path.name} lacks {requirement.name}"
            elif not requirement.specifier.contains(version, prereleases=True):
                yield f"{path.name} has {requirement.name} {version}, pyproject.toml wants {requirement.specifier}"
        for name, version in found.items():
            if pinned.setdefault(name, version) != version:
                yield f"{name} is {version} in {path.name} and {pinned[name]} in another file"
        yield from _line_problems(path)
    for name in sorted(set(_LOCKS) & set(_tracked())):
        yield f"{name} is in the repository: lock files name a package index"


def _pins(text: str) -> dict[str, str]:
    matches = (_PINNED.match(line) for line in text.splitlines())
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}


def _line_problems(path: Path) -> Iterator[str]:
    entries = path.read_text().replace("\\\n", " ").splitlines()
    for entry in entries:
        if _HOST.search(entry):
            yield f"{path.name} names a host: {entry[:80]}"
        elif entry and "--hash=sha256:" not in entry:
            yield f"{path.name} has a line without a hash: {entry[:80]}"


def _tracked() -> list[str]:
    if shutil.which("git") is None:
        return []  # then it is no checkout either
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [Path(line).name for line in done.stdout.splitlines()]


def main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        write()
    found = list(problems())
    for line in found:
        print(line)
    if found and arguments == ["--check"]:
        print("`python -m tools.requirements` writes the files anew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
