"""Bearer keys: random, held by the configuration as their sha256 alone.

    python -m serve.keys NAME    prints a new key, and the line of configuration that lets it in

A key has 256 random bits, so a plain hash keeps it: there is nothing to guess. To revoke one,
remove its line and deploy again: no replica is replaced.
"""

import hashlib
import hmac
import ipaddress
import secrets
import sys
from collections.abc import Sequence

from serve.settings import Key


def new_key() -> str:
    """A new key of 256 random bits."""
    return f"pathray_{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> str:
    """What the configuration holds of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def holder(authorization: str | None, keys: Sequence[Key]) -> str | None:
    """Whose key an `Authorization` header carries; None for no key, or one that is not let in.

    All keys are compared, each in constant time.
    """
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return None
    hashed = hash_key(given.strip())
    found = None
    for key in keys:
        if hmac.compare_digest(hashed, key.sha256):
            found = key.name
    return found


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m serve.keys NAME")
    made = new_key()
    print(f"key, told once: {made}")
    print(f"- {{name: {sys.argv[1]}, sha256: {hash_key(made)}}}")
