"""Wall address: a wall that a server keeps, as learners send to it and dashboards read it.

``http://host:port/?token=...``: whoever has the address may look and join. An entry is its sender's by a key that
only the kernel knows which drew it: the entry's id is made of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from nbkit.app.wall.folder import Reading
from nbkit.errors import InputError, first_line, shorten
from nbkit.records.wall_entry import WallEntry, entry_of

TIMEOUT_S = 5.0
MOST_ANSWERED_BYTES = 40_000_000
"""Of an answer no more is read: as much as the largest wall has."""
KEY_HEADER = "X-Nbkit-Key"


def is_address(where: object) -> bool:
    """Whether this is the address of a wall, and not a folder."""
    return isinstance(where, str) and where.startswith(("http://", "https://"))


def id_of(key: str) -> str:
    """The id of the entry that belongs to a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Address:
    """A wall's server and its token.

    Raises
    ------
    InputError
        The address is none.
    """

    def __init__(self, address: str) -> None:
        try:
            parts = urllib.parse.urlsplit(address)
            tokens = urllib.parse.parse_qs(parts.query).get("token", [])
            is_whole = bool(parts.hostname) and parts.port != 0 and len(tokens) == 1 and address.isascii()
        except ValueError:
            is_whole = False
        if not is_whole:
            raise InputError(
                f"{shorten(address)} is no address of a wall; take the whole of what nbkit wall has printed, "
                "with its token: http://host:port/?token=..."
            )
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._token = tokens[0]
        # The wall is near by: a proxy for the world outside cannot reach 127.0.0.1, and nobody sends it on.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def __str__(self) -> str:
        return self._base

    def ask(self, method: str, path: str, body: str | None = None, key: str = "") -> bytes:
        """Send a request and return the answer.

        Raises
        ------
        InputError
            Nobody answers, or the server refuses it; the message has its sentence.
        """
        request = urllib.request.Request(
            f"{self._base}/{path}?{urllib.parse.urlencode({'token': self._token})}",
            data=None if body is None else body.encode(),
            method=method,
            headers={"Content-Type": "application/json", **({KEY_HEADER: key} if key else {})},
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read(MOST_ANSWERED_BYTES))
        except urllib.error.HTTPError as error:
            with contextlib.suppress(OSError), error:
                said = error.read(300).decode("utf-8", "replace")
                raise InputError(f"the wall at {self._base} says: {first_line(ValueError(said))}") from None
            raise InputError(f"the wall at {self._base} refuses ({error.code})") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"the wall at {self._base} does not answer: {first_line(Exception(reason))}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A wall sends nobody elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class AddressSender:
    """Sends one learner's entry to a wall's server."""

    def __init__(self, address: str) -> None:
        self._address = Address(address)
        self._key = secrets.token_hex(16)

    def __str__(self) -> str:
        return str(self._address)

    def begin(self, entry: WallEntry) -> WallEntry:
        """Put a new entry there: this one, with the id that belongs to the key."""
        own = dataclasses.replace(entry, id=id_of(self._key))
        self.send(own)
        return own

    def send(self, entry: WallEntry) -> None:
        """Replace the entry.

        Raises
        ------
        InputError
            The server cannot be reached, or refuses it.
        """
        self._address.ask("PUT", "entry", entry.to_json(), self._key)

    def leave(self, entry: WallEntry) -> None:
        """Take the entry off the wall."""
        with contextlib.suppress(InputError):
            self._address.ask("DELETE", "entry", key=self._key)


def read_address(address: Address) -> Reading:
    """All entries that a server has.

    Raises
    ------
    InputError
        It does not answer, or not with a wall.
    """
    try:
        data = json.loads(address.ask("GET", "entries"))
        entries = {entry.id: entry for entry in map(entry_of, data["entries"])}
        return Reading(list(entries.values()), [str(note)[:300] for note in data["notes"]])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        if isinstance(error, InputError) and "the wall at" in str(error):
            raise
        raise InputError(f"what answers at {address} is no wall of this nbkit: {first_line(error)}.") from None
