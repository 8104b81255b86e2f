"""The command line. `main` is what the `mailrelay` command runs."""

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    if sys.argv[1:] == ["--version"]:  # asked by scripts and packagers, so it does not load the rest
        from mailrelay import __version__

        print(f"mailrelay {__version__}")
        return
    from mailrelay.cli.root import run

    sys.exit(run(sys.argv[1:]))
