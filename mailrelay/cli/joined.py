"""The adopt and release commands, without the configuration: cli.py reads that and calls these functions."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from mailrelay.clients.joinmemory import MemoryFile, joined_directories
from mailrelay.clients.postconf import PostfixFolder
from mailrelay.core.errors import BadConfig
from mailrelay.core.joining import Joining
from mailrelay.flows import join
from mailrelay.flows.join import Change

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--postfix-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("/etc/postfix"),
        show_default=True,
        metavar="DIR",
        help="Configuration folder of the Postfix instance.",
    ),
    click.option("--dry-run", is_flag=True, help="Show what would change, and stop."),
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("--reload", is_flag=True, help="Run `postfix reload` afterwards."),
)


def join_options(command: _Command) -> _Command:
    """The options that adopt and release share: postfix_dir, dry_run, yes, reload."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class How:
    """How adopt or release was called. state_dir: where memories are."""

    state_dir: Path
    postfix_dir: Path
    dry_run: bool = False
    yes: bool = False
    reload: bool = False
    as_json: bool = False


def run_adopt(wanted: Joining, how: How) -> int:
    """Join a Postfix. Returns the exit code: 0, or 1 if it is refused or declined.

    Raises Conflict, BadConfig; changes nothing then.
    """
    postfix, memories = _parties(how)
    change = join.adoption(wanted, postfix, memories)
    if change.problems:
        return _refused(change, as_json=how.as_json)
    return _finish(change, postfix, memories, how)


def run_release(wanted: Joining | None, how: How) -> int:
    """Take out of a Postfix what run_adopt put there. wanted: None if there is no configuration."""
    postfix, memories = _parties(how)
    return _finish(join.release(wanted, postfix, memories), postfix, memories, how)


def _parties(how: How) -> tuple[PostfixFolder, MemoryFile]:
    postfix = PostfixFolder(how.postfix_dir)
    return postfix, MemoryFile(how.state_dir, postfix.directory)


def domain_remarks(wanted: Joining, state_dir: Path) -> list[str]:
    """What the Postfix instances that were joined have against the domains of `wanted`."""
    found = []
    for directory in joined_directories(state_dir):
        try:
            problems = join.domain_problems(wanted, PostfixFolder(Path(directory)), MemoryFile(state_dir, directory))
        except BadConfig as error:
            found.append(
                f"{error.problems[0]}: see `mailrelay adopt --dry-run` for what Postfix has against the domain"
            )
        else:
            found += [f"{directory}: {problem}" for problem in problems]
    return found


def _finish(change: Change, postfix: PostfixFolder, memories: MemoryFile, how: How) -> int:
    for remark in change.remarks:
        click.echo(f"note: {remark}", err=True)
    if not how.as_json:
        click.echo(change.diff, nl=False)
    applied = not how.dry_run
    if change.changes and applied and not how.yes:
        if how.as_json:
            # A program reads stdout: show the person who is asked what it is about.
            click.echo(change.diff, nl=False, err=True)
        applied = _confirmed(postfix.directory)
    if applied:
        join.carry_out(change, postfix, memories)
    if how.as_json:
        click.echo(_rendered(change, applied=applied and change.changes))
    if not change.changes:
        click.echo(f"{postfix.directory}: nothing to change", err=True)
        return 0
    if not applied:
        return 0 if how.dry_run else 1
    return _reload(postfix, reload=how.reload)


def _confirmed(directory: str) -> bool:
    if not sys.stdin.isatty():
        click.echo("nobody to ask: nothing was changed; give --yes to go ahead", err=True)
        return False
    return click.confirm(f"Change {directory} like this?", err=True)


def _reload(postfix: PostfixFolder, *, reload: bool) -> int:
    if not reload:
        click.echo(f"done; now run: postfix -c {postfix.directory} reload", err=True)
        return 0
    objection = postfix.reload()
    if objection:
        click.echo(f"done, but Postfix did not reload: {objection}", err=True)
        return 1
    return 0


def _refused(change: Change, *, as_json: bool) -> int:
    if as_json:
        click.echo(_rendered(change, applied=False))
    for text in (*(f"note: {remark}" for remark in change.remarks), *(f"refused: {p}" for p in change.problems)):
        click.echo(text, err=True)
    return 1


def _rendered(change: Change, *, applied: bool) -> str:
    problems = [
        {"parameter": p.parameter, "value": p.value, "reason": p.reason, "remedy": p.remedy} for p in change.problems
    ]
    data = {
        "directory": change.directory,
        "changes": change.changes,
        "applied": applied,
        "diff": change.diff,
        "problems": problems,
        "remarks": list(change.remarks),
    }
    return json.dumps(data, indent=2)
