"""The texts of notifications in files, and how they become mail: a catalogue for each language, one layout for all."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mailrelay.core.errors import BadConfig
from mailrelay.core.noticetext import Catalogue, Filled, Told, fill, read

ENGLISH = "en"

_HERE = Path(__file__).parent
_LINE_CHARACTERS = 72


@dataclass(frozen=True, slots=True)
class Printed:
    """A notification ready to be put into a message. plain, html: lines end with LF."""

    language: str
    subject: str
    plain: str
    html: str


Printer = Callable[[Told], Printed]


def load(language: str = ENGLISH, folder: Path | None = None) -> Catalogue:
    """The texts in a language; folder: the operator's own files, which come before ours.

    What a file does not say is said as in the next one: the operator's, ours of that language, English. Raises
    BadConfig with every mistake in the first file that has some, or if there is none for the language.
    """
    found = read(_parsed(_HERE / f"{ENGLISH}.yaml"), f"{ENGLISH}.yaml")
    paths = [_HERE / f"{language}.yaml"] if language != ENGLISH else []
    if folder is not None:
        paths.append(folder / f"{language}.yaml")
    present = [path for path in paths if path.is_file()]
    if language != ENGLISH and not present:
        names = ", ".join(str(path) for path in paths)
        raise BadConfig((f"notices.language: there are no texts for {language}: looked for {names}",))
    for path in present:
        found = read(_parsed(path), str(path), found)
    return found


def printer(catalogue: Catalogue) -> Printer:
    """What turns notifications into words of this catalogue."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    layout = environment.get_template("layout.html")

    def printed(told: Told) -> Printed:
        filled = fill(catalogue, told)
        return Printed(filled.language, filled.subject, _plain(filled), layout.render(filled=filled))

    return printed


def _parsed(path: Path) -> object:
    try:
        return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig((f"{path}: is not YAML: {' '.join(str(error).split())}",)) from error


def _plain(filled: Filled) -> str:
    """For reading without markup: addresses of links stand on lines of their own, and are never broken."""
    blocks = [_wrapped(paragraph) for paragraph in filled.paragraphs]
    blocks += [f"{_wrapped(text)}:\n{address}" for text, address in filled.buttons]
    if filled.facts:
        rows = [_wrapped(f"{name}: {value}", "    ") for name, value in filled.facts]
        blocks.append("\n".join([f"{filled.facts_title}:", "", *rows]))
    blocks.append(f"-- \n{_wrapped(filled.footer)}")
    return "\n\n".join(blocks) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _LINE_CHARACTERS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
