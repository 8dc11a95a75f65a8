"""API keys, as API, MCP bridge and command line use them: a part of the one door, ImageQueue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from imagequeue.api_keys import (
    ALL_SCOPES,
    DEFAULT_SCOPES,
    LOCAL_CALLER,
    LOCAL_OWNER,
    ApiKey,
    Caller,
    KeyLimits,
    Scope,
    digest,
    is_key_id,
    is_secret,
    new_key_id,
    new_secret,
    pepper_check,
)
from imagequeue.errors import InvalidRequest, KeyNotFound, Misconfigured, Unauthorized, Violation
from imagequeue.settings import Settings, is_loopback
from imagequeue.store.api_keys import KeyStore, NewKey, Spending

_HINT_CHARACTERS: Final = 4
_FIRST_IS_ADMIN: Final = Violation(
    field="scopes",
    rule="must have 'admin' for the first key: nobody is served without a key then, and only such a key makes more",
    given="no 'admin'",
    example='["submit", "read", "admin"]',
)
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key with its secret, which is shown this once and kept nowhere."""

    key: ApiKey
    secret: str


class KeyService:
    """Make, find, rotate, revoke."""

    def __init__(self, settings: Settings, store: KeyStore) -> None:
        self._settings = settings
        self._store = store
        self._checked_pepper: str | None = None

    def caller(self, secret: str | None) -> Caller:
        """Who asks with this secret; this machine's own user as long as no key was ever made.

        Until then any secret but one of our own form will do: OpenAI's SDKs cannot but send one.

        Raises:
            Unauthorized: a key is needed, or this one is not good.
        """
        ours = secret is not None and is_secret(secret)
        anybody = not self._store.any()
        if anybody and not ours:
            return LOCAL_CALLER
        if secret is None:
            raise Unauthorized("An API key is needed: send it as 'Authorization: Bearer iq_…'.")
        key = self._store.find(digest(secret, self._pepper())) if ours and not anybody else None
        if key is None:
            raise Unauthorized("This API key is not known here, or it was revoked.")
        return Caller(owner=key.owner, key_id=key.id, scopes=key.scopes)

    def create(
        self,
        name: str,
        *,
        owner: str | None = None,
        scopes: frozenset[Scope] = DEFAULT_SCOPES,
        limits: KeyLimits | None = None,
    ) -> IssuedKey:
        """Make a key. `owner` None: the key owns what it makes; keys of one owner share all that they make.

        Raises:
            InvalidRequest: it would be the only key, and could make no other.
            Misconfigured: there is no pepper, or another one than that of the keys that are there.
        """
        if Scope.ADMIN not in scopes and not self._store.any():
            raise InvalidRequest([_FIRST_IS_ADMIN])
        return self._issue(name, owner, scopes, limits or KeyLimits(), new_secret())

    def all(self) -> Sequence[ApiKey]:
        """All keys, oldest first, those that are revoked included."""
        return self._store.all()

    def get(self, key_id: str) -> ApiKey:
        """Read a key.

        Raises:
            KeyNotFound: there is none.
        """
        key = self._store.get(key_id) if is_key_id(key_id) else None
        if key is None:
            raise KeyNotFound(key_id)
        return key

    def rotate(self, key_id: str, *, grace_seconds: float) -> IssuedKey:
        """Give a key a new secret; the old one is good for `grace_seconds` more.

        Raises:
            KeyNotFound: there is none, or it is revoked.
        """
        self.get(key_id)
        secret = new_secret()
        self._store.rotate(key_id, digest(secret, self._pepper()), _hint(secret), grace_ms=int(grace_seconds * 1000))
        return IssuedKey(self.get(key_id), secret)

    def revoke(self, key_id: str) -> ApiKey:
        """Refuse a key from now on. What it made stays, and goes on.

        Raises:
            KeyNotFound: there is none.
        """
        self.get(key_id)
        self._store.revoke(key_id)
        return self.get(key_id)

    def set_limits(self, key_id: str, limits: KeyLimits) -> ApiKey:
        """Replace a key's limits.

        Raises:
            KeyNotFound: there is none.
        """
        self.get(key_id)
        self._store.set_limits(key_id, limits)
        return self.get(key_id)

    def spending(self, key_id: str) -> Spending:
        """What a key has used so far."""
        return self._store.spending(key_id)

    def ensure_first(self, file: Path) -> None:
        """Make a key with all rights if no key was ever made, and keep its secret in `file`, for its owner only.

        The file is there before the key is in Redis: a key that nobody can read any more would lock everybody out.

        Raises:
            Misconfigured: there is no pepper, or the file cannot be used.
        """
        if self._store.any():
            return
        try:
            secret = secret_in(file)
        except (OSError, UnicodeError) as error:
            raise Misconfigured(f"IMAGEQUEUE_FIRST_KEY_FILE cannot be used: {error}") from error
        if not is_secret(secret):
            raise Misconfigured(f"IMAGEQUEUE_FIRST_KEY_FILE: {file} does not hold an API key; remove it.")
        issued = self._issue("first", LOCAL_OWNER, ALL_SCOPES, KeyLimits(), secret)
        _log.info("first_key_made", key=issued.key.id, file=str(file))

    def refuse_strangers(self, host: str) -> None:
        """Check that whoever reaches a server on `host` will be asked for a key, and that keys can be checked.

        Raises:
            Misconfigured: others than this machine could reach it, and there is no key; or the pepper is wrong.
        """
        if self._store.any():
            self._pepper()
        elif not is_loopback(host):
            raise Misconfigured(
                f"Listening on {host} would let anybody who reaches it spend money: there are no API keys yet. "
                "Name a file for a first one in IMAGEQUEUE_FIRST_KEY_FILE, or listen on 127.0.0.1."
            )

    def _issue(
        self, name: str, owner: str | None, scopes: frozenset[Scope], limits: KeyLimits, secret: str
    ) -> IssuedKey:
        key_id, pepper = new_key_id(), self._pepper()
        new = NewKey(key_id, name, owner or key_id, scopes, limits, _hint(secret))
        return IssuedKey(self.get(self._store.add(new, digest(secret, pepper))), secret)

    def _pepper(self) -> str:
        """The pepper, once it is known to be that of the keys; it stays the same as long as the process lives."""
        if self._checked_pepper is None:
            self._checked_pepper = self._check_pepper()
        return self._checked_pepper

    def _check_pepper(self) -> str:
        pepper = self._settings.key_pepper
        if pepper is None:
            raise Misconfigured(
                "IMAGEQUEUE_KEY_PEPPER is not set: API keys cannot be made or checked without it. "
                "Set it to a long random text, the same for every process: openssl rand -hex 32"
            )
        if self._store.pepper(pepper_check(pepper.get_secret_value())) != pepper_check(pepper.get_secret_value()):
            raise Misconfigured("IMAGEQUEUE_KEY_PEPPER is not the one that the API keys in Redis were made with.")
        return pepper.get_secret_value()


def secret_in(file: Path) -> str:
    """The secret that the file holds; one that is not there is made with a new secret, readable by its owner only.

    Raises:
        OSError, UnicodeError: it cannot be read or made.
    """
    with (
        suppress(FileExistsError),
        os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream,
    ):
        stream.write(f"{new_secret()}\n")
    return file.read_text().strip()


def _hint(secret: str) -> str:
    return secret[-_HINT_CHARACTERS:]
