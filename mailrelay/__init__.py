"""mailrelay: e-mail aliases and forwarding for the Postfix you already run."""

__version__ = "0.1.0"
