"""The Hub's client, with the patience that it lacks and words for what goes wrong. The token stays in here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any, NoReturn, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import logging, parse_ratelimit_headers

from ..errors import HubError, SynthmirError

TRIES = 7  # of one request, the first included
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # answers that another day may be others
UNANSWERED = (httpx2.TransportError, ConnectionError, TimeoutError, JSONDecodeError)  # a proxy's page is no JSON
LONGEST_PAUSE = 30.0  # seconds, where the Hub names none
LONGEST_WAIT = 600.0  # seconds: told to wait longer, say so and end
AGAIN = "run the same command again: what has arrived is not sent again"
Answer = TypeVar("Answer")


@dataclass
class Hub:
    """One endpoint and one account. `notice` is told, in a line, of every pause."""

    api: HfApi
    notice: Callable[[str], None] = lambda line: None
    account: str | None = None  # None: nobody is logged in

    @classmethod
    def connect(cls, endpoint: str | None, notice: Callable[[str], None], anonymous: bool = False) -> Hub:
        """The Hub at `endpoint` (default: HF_ENDPOINT), by the login that is there or HF_TOKEN.

        Raises HubError if there is no token, a wrong one or one that can only read; with `anonymous` none is needed.
        """
        endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        try:
            token = get_token()
        except Exception as error:  # a login by trusted publisher or OAuth that failed
            raise HubError(f"logging in to {endpoint} failed: {error}", "log in again: hf auth login") from error
        if token is None and not anonymous:
            raise HubError(
                f"no token for {endpoint}",
                f"log in: hf auth login, or set HF_TOKEN to a token with write access ({endpoint}/settings/tokens)",
            )
        hub = cls(HfApi(endpoint=endpoint, token=token or False), notice)
        if token is not None:
            hub._introduce()
        return hub

    def _introduce(self) -> None:
        told = self.ask("log in", self.api.whoami)
        self.account = str(told.get("name"))
        role = ((told.get("auth") or {}).get("accessToken") or {}).get("role")
        if role == "read":
            raise HubError(f"the token of {self.account} can only read", f"make one with write access: {self._tokens}")

    @property
    def endpoint(self) -> str:
        """Its address, without a slash at the end."""
        return str(self.api.endpoint)

    @property
    def _tokens(self) -> str:
        return f"{self.endpoint}/settings/tokens"

    def address(self, kind: str, repo: str) -> str:
        """The page of a repository ("dataset", "model", "space")."""
        return f"{self.endpoint}/{constants.REPO_TYPES_URL_PREFIXES.get(kind, '')}{repo}"

    def ask(self, what: str, call: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:
        """Call the Hub until it answers, with growing pauses; HubError for what no patience mends."""
        for attempt in range(1, TRIES + 1):
            try:
                return call(*arguments, **options)
            except SynthmirError:
                raise
            except Exception as error:
                if not self.pause(error, attempt):
                    self.refuse(what, error)
        raise AssertionError("unreachable")

    def pause(self, error: Exception, attempt: int, also: tuple[int, ...] = ()) -> bool:
        """Wait before the next attempt; False if there should be none. `also`: further codes that pass."""
        cause = origin(error)
        status = status_of(cause)
        if attempt >= TRIES or isinstance(cause, LocalTokenNotFoundError | OfflineModeIsEnabled):
            return False
        if status is None:
            if not isinstance(cause, UNANSWERED) or "client error" in str(cause):  # Xet's words for a 4xx
                return False
            if isinstance(cause, httpx2.ConnectError) and self.account is None:
                return False  # the very first contact: nobody there
        elif status not in (*PASSING, *also):
            return False
        asked = _asked_to_wait(cause)
        if asked is not None and asked > LONGEST_WAIT:
            return False
        seconds = min(2.0 ** (attempt - 1), LONGEST_PAUSE) if asked is None else asked
        reason = f"the Hub answers {status}" if status else f"no sound answer from {self.endpoint}"
        self.notice(f"{reason}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        return True

    def refuse(self, what: str, error: Exception) -> NoReturn:
        """Raise HubError in words, with what mends it. No token is in them, nor in what is chained to them."""
        cause = origin(error)
        words = self.clean(_words(cause))
        raise HubError(f"cannot {what}: {words}", self._fix(cause)) from (
            error if self.clean(str(error)) == str(error) and self.clean(str(cause)) == str(cause) else None
        )

    def clean(self, text: str) -> str:
        """The text without the token."""
        return text.replace(str(self.api.token), "hf_***") if self.api.token else text

    def _fix(self, error: BaseException) -> str:
        status = status_of(error)
        if isinstance(error, OfflineModeIsEnabled):
            return "unset HF_HUB_OFFLINE"
        if status == 401:
            return f"log in again: hf auth login, or set HF_TOKEN to a token of yours ({self._tokens})"
        if status == 403:
            return f"use a name in a namespace of yours and a token with write access to it ({self._tokens}), or --pr"
        if status == 404:
            return "check the name, and that the token may see it"
        if status == 412:
            return "somebody else is writing there: look at it, then run the same command again"
        if status == 429 and (asked := _asked_to_wait(error)) is not None:
            return f"wait {asked:.0f} s, then {AGAIN}"
        if "xet-write-token" in str(error):
            return "a Hub that has no Xet storage takes plain uploads: set HF_HUB_DISABLE_XET=1"
        if status is None and isinstance(error, UNANSWERED):
            return f"check the network and HF_ENDPOINT, then {AGAIN}"
        return AGAIN if status is None or status >= 408 else "mend what it names, then run the same command again"


def origin(error: BaseException) -> BaseException:
    """What the Hub said, where the client has wrapped it."""
    while isinstance(error, HubError | RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an answer that was an error."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _words(error: BaseException) -> str:
    if isinstance(error, HfHubHTTPError):
        told = error.server_message or error.response.headers.get("X-Error-Message") or error.response.reason_phrase
        return f"the Hub answers {error.response.status_code} ({' '.join(str(told).split())})"
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on"
    return " ".join(str(error).split()) or type(error).__name__


def _asked_to_wait(error: BaseException) -> float | None:
    """Seconds that the answer's headers ask for: Retry-After as number or date, or the Hub's rate limit."""
    if not isinstance(error, HfHubHTTPError):
        return None
    told = str(error.response.headers.get("Retry-After") or "").strip()
    if told.isdigit():
        return float(told)
    if told:
        try:
            return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    limit = parse_ratelimit_headers(error.response.headers) if error.response.status_code == 429 else None
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


@contextmanager
def quiet_client() -> Iterator[None]:
    """Mute the client's log of retries: it names signed addresses, and the pauses are told by us. And its doubts
    whether data belongs into a Space: an explorer has some."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            yield
    finally:
        logging.set_verbosity(before)
