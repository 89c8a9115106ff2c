"""The KIS Open API, as far as the collector needs it: does it accept the key, and a cached token.

A refused key is an external failure, not a broken contract: it is logged, the collectors stay off and
the app lives on (seed 001, final verdict). Without KIS_API_BASE no call leaves the process: a small
rule stands for the API. With it, the answer of that server counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from observer import files, paths

log = logging.getLogger(__name__)

KEY_PREFIX = "PS"
KEY_LENGTH = 36
REFUSED_CODE = "EGW00103"
REFUSED_TEXT = "유효하지 않은 AppKey입니다."
TOKEN_SECONDS = 86400
RENEW_BEFORE_SECONDS = 3600
REFUSED_RETRY_SECONDS = 300.0
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
CALL_SECONDS = 5.0
ANSWER_BYTES = 65536
TOKEN_FILE = "token_cache.json"


@dataclass(frozen=True)
class KisSettings:
    """Key pair and address; the address may be empty."""

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    hts_id: str = field(repr=False)
    api_base: str


@dataclass(frozen=True)
class Token:
    """An access token and when it ends, in Unix seconds."""

    value: str = field(repr=False)
    expires_at: float


class KisRefusedError(Exception):
    """The API answered and said no."""

    def __init__(self, code: str, message: str) -> None:
        """Take the API's own code and text."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class KisUnreachableError(Exception):
    """No usable answer."""


def kis_settings() -> KisSettings:
    """Read the KIS variables."""
    return KisSettings(
        app_key=os.environ.get("KIS_APP_KEY", ""),
        app_secret=os.environ.get("KIS_APP_SECRET", ""),
        hts_id=os.environ.get("KIS_HTS_ID", ""),
        api_base=os.environ.get("KIS_API_BASE", "").rstrip("/"),
    )


def _local_token(settings: KisSettings) -> Token:
    if not settings.app_key.startswith(KEY_PREFIX) or len(settings.app_key) != KEY_LENGTH:
        raise KisRefusedError(REFUSED_CODE, REFUSED_TEXT)
    value = hmac.new(settings.app_secret.encode(), os.urandom(16), hashlib.sha256).hexdigest()
    return Token(value, time.time() + TOKEN_SECONDS)


def _remote_token(settings: KisSettings) -> Token:
    body = json.dumps(
        {
            "grant_type": "client_credentials",
            "appkey": settings.app_key,
            "appsecret": settings.app_secret,
        }
    ).encode()
    request = urllib.request.Request(
        f"{settings.api_base}/oauth2/tokenP", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
            answer = json.loads(response.read(ANSWER_BYTES))
        return Token(str(answer["access_token"]), time.time() + float(answer["expires_in"]))
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise KisUnreachableError(f"HTTP status {error.code}") from None
        try:
            answer = json.loads(error.read(ANSWER_BYTES))
            code, message = str(answer["error_code"]), str(answer.get("error_description", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise KisUnreachableError(f"HTTP status {error.code}") from None
        raise KisRefusedError(code, message) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The type only: the text of an unknown answer could hold what was sent.
        raise KisUnreachableError(type(error).__name__) from None


def request_token(settings: KisSettings) -> Token:
    """Ask for a token; blocking. Raises KisRefusedError or KisUnreachableError."""
    return _remote_token(settings) if settings.api_base else _local_token(settings)


def _owner(settings: KisSettings) -> str:
    """Return a mark that ties a cached token to its key pair and address without showing either."""
    text = f"{settings.app_key}\n{settings.api_base}".encode()
    return hmac.new(settings.app_secret.encode(), text, hashlib.sha256).hexdigest()


def token_file() -> Path:
    """Return the path of the cache (seed 001, step 4)."""
    return paths.token_cache_dir() / TOKEN_FILE


def cached_token(settings: KisSettings) -> Token | None:
    """Return a token that is still good for this key pair, if the cache has one."""
    try:
        content = json.loads(token_file().read_text(encoding="utf-8"))
        token = Token(str(content["access_token"]), float(content["expires_at"]))
        same = hmac.compare_digest(str(content["owner"]), _owner(settings))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return token if same and token.expires_at - time.time() > RENEW_BEFORE_SECONDS else None


def store_token(settings: KisSettings, token: Token) -> None:
    """Write the cache, readable by the app's user only. Raises OSError."""
    content = {"access_token": token.value, "expires_at": token.expires_at, "owner": _owner(settings)}
    files.replace(token_file(), json.dumps(content).encode(), 0o600)


class Kis:
    """Keeps the state of the API: starting, ok, refused or unreachable."""

    def __init__(self, settings: KisSettings, changed: Callable[[bool], None]) -> None:
        """Take the settings and whom to tell when the API becomes usable or not."""
        self._settings = settings
        self._changed = changed
        self.state = "starting"
        self.code: str | None = None
        self.message: str | None = None

    @property
    def usable(self) -> bool:
        """Whether data can be collected."""
        return self.state == "ok"

    def status(self) -> dict[str, object]:
        """Return what /status shows."""
        return {
            "state": self.state,
            "code": self.code,
            "message": self.message,
            "stub": bool(self._settings.api_base),
            "hts_id_set": bool(self._settings.hts_id),
        }

    def _enter(self, state: str, code: str | None, message: str | None) -> None:
        if (state, code) != (self.state, self.code):
            fields = {"fields": {"kis_state": state, "kis_code": code, "failure_class": "external"}}
            if state == "ok":
                log.info("KIS API accepts the key", extra={"fields": {"kis_state": state}})
            elif state == "refused":
                log.error("KIS API refuses the key (%s: %s): collectors off", code, message, extra=fields)
            else:
                log.error("KIS API unreachable (%s): collectors off", message, extra=fields)
        self.state, self.code, self.message = state, code, message
        self._changed(self.usable)

    async def _token(self) -> Token:
        token = await asyncio.to_thread(cached_token, self._settings)
        if token is not None:
            return token
        token = await asyncio.to_thread(request_token, self._settings)
        try:
            await asyncio.to_thread(store_token, self._settings, token)
        except OSError as error:
            log.warning("cannot write %s: %s; the token is kept in memory", token_file(), error.strerror)
        return token

    async def run(self) -> None:
        """Authenticate, renew in time, and try again after a failure; until cancelled."""
        retry = FIRST_RETRY_SECONDS
        while True:
            try:
                token = await self._token()
            except KisRefusedError as error:
                self._enter("refused", error.code, error.message)
                await asyncio.sleep(REFUSED_RETRY_SECONDS)
                continue
            except KisUnreachableError as error:
                self._enter("unreachable", None, str(error))
                await asyncio.sleep(retry)
                retry = min(retry * 2, LONGEST_RETRY_SECONDS)
                continue
            retry = FIRST_RETRY_SECONDS
            self._enter("ok", None, None)
            renew_in = token.expires_at - time.time() - RENEW_BEFORE_SECONDS
            await asyncio.sleep(max(renew_in, LONGEST_RETRY_SECONDS))
