"""Addresses that are secrets, because whoever has one can post there."""

from urllib.parse import urlsplit

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def is_address(url: str) -> bool:
    """Whether `url` is one to post to: https, or http on this machine, with a host and a path."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        printable = url.isascii() and url.isprintable() and " " not in url
        return safe and printable and bool(parts.hostname) and len(parts.path) > 1 and parts.port != 0
    except ValueError:  # a port or an address in brackets that is none
        return False
