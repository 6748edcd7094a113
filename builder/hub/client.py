"""The Hub's client, with the patience that it lacks and words for what goes wrong. The token stays in here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from json import JSONDecodeError
from typing import Any, NoReturn, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    build_hf_headers,
    disable_progress_bars,
    enable_progress_bars,
    get_session,
    hf_raise_for_status,
    logging,
    parse_ratelimit_headers,
)

from ..errors import HubError, SynthmirError

TRIES = 7  # of one request, the first included
UNDONE = (429, 503)  # answers of a Hub that has not begun what it was asked for
PASSING = (None, 408, 409, 425, *UNDONE, 500, 502, 504)  # what may pass; None: no answer, or none of a Hub
WRITTEN = (*PASSING, 404)  # of what was just written: a replica may not have it yet
UNANSWERED = (httpx2.TransportError, ConnectionError, TimeoutError, JSONDecodeError)  # a proxy's page is no JSON
LONGEST_PAUSE = 30.0  # seconds, where the Hub names none
LONGEST_WAIT = 600.0  # seconds: told to wait longer, say so and end
LAGGING = 5  # tries where the answer is 404
AGAIN = "run the same command again: what has arrived is not sent again"
CHANGE_CARD = (
    "change that key in the card (of a corpus also the card's line in SHA256SUMS: sha256sum README.md); "
    "nothing was sent"
)
Answer = TypeVar("Answer")


class _Api(HfApi):
    """The client, without the second validation of a card inside each commit: `Hub.validate_card` has validated it."""

    def _validate_yaml(self, content: str, **options: Any) -> None:
        pass


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
        hub = cls(_Api(endpoint=endpoint, token=token or False), notice)
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

    def ask(
        self,
        what: str,
        call: Callable[..., Answer],
        *arguments: Any,
        advice: Mapping[int, str] | None = None,
        codes: Collection[int | None] = PASSING,
        **options: Any,
    ) -> Answer:
        """Call the Hub until it answers, with growing pauses.

        Args:
            what: The request, as the error message names it: "log in".
            call: A function of the client that makes one request, or more that it does not repeat once done.
            advice: Fixes by HTTP status, where the general one does not fit.
            codes: HTTP statuses to try again after, see `PASSING`; `WRITTEN` of a call for what was just written.

        Raises:
            HubError: The Hub refuses the request, or does not answer it after TRIES attempts.
        """
        try:
            return self.attempt(call, *arguments, codes=codes, **options)
        except SynthmirError:
            raise
        except Exception as error:
            self.refuse(what, error, advice)

    def attempt(
        self, call: Callable[..., Answer], *arguments: Any, codes: Collection[int | None] = PASSING, **options: Any
    ) -> Answer:
        """The same as `ask`, but the last error is raised as the client raises it."""
        for attempt in count(1):
            try:
                return call(*arguments, **options)
            except SynthmirError:
                raise
            except Exception as error:
                if not self.pause(error, attempt, codes):
                    raise
        raise AssertionError("unreachable")

    def validate_card(self, content: str, kind: str, path: str) -> None:
        """Let the Hub validate the YAML of a card, which it would refuse in the last commit otherwise.

        Raises:
            HubError: The Hub does not take a value; the message names the key and `path`, the card's file.
        """

        def post() -> list[str]:
            response = get_session().post(
                f"{self.endpoint}/api/validate-yaml",
                json={"content": content, "repoType": kind},
                headers=build_hf_headers(token=self.api.token),
            )
            if response.status_code != 400:
                hf_raise_for_status(response)
            answer = dict(response.json())
            faults = [str(fault["message"]) for fault in answer.get("errors") or ()]
            return faults or ([str(answer.get("error"))] if response.status_code == 400 else [])

        if faults := self.ask(f"validate {path}", post):
            raise HubError(f"{path}: the Hub does not take its YAML: {self.clean('; '.join(faults))}", CHANGE_CARD)

    def pause(self, error: Exception, attempt: int, codes: Collection[int | None] = PASSING) -> bool:
        """Wait before the next attempt; False if there should be none. `codes`: HTTP statuses that may pass."""
        cause = find_cause(error)
        status = http_status(cause)
        if attempt >= (LAGGING if status == 404 else TRIES) or status not in codes:
            return False
        if isinstance(cause, LocalTokenNotFoundError | OfflineModeIsEnabled):
            return False
        if status is None:
            if not isinstance(cause, UNANSWERED) or "client error" in str(cause):  # Xet's words for a 4xx
                return False
            if isinstance(cause, httpx2.ConnectError) and self.account is None:
                return False  # the very first contact: nobody there
        asked = _asked_to_wait(cause)
        if asked is not None and asked > LONGEST_WAIT:
            return False
        seconds = min(2.0 ** (attempt - 1), LONGEST_PAUSE) if asked is None else asked
        reason = f"the Hub answers {status}" if status else f"no sound answer from {self.endpoint}"
        self.notice(f"{reason}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        return True

    def refuse(self, what: str, error: Exception, advice: Mapping[int, str] | None = None) -> NoReturn:
        """Raise HubError with what is wrong and the fix. No token is in it, nor in what is chained to it."""
        cause = find_cause(error)
        status = http_status(cause)
        fix = (advice or {}).get(status) if status is not None else None
        raise HubError(f"cannot {what}: {self.clean(self._words(cause))}", fix or self._fix(cause)) from (
            error if self.clean(str(error)) == str(error) and self.clean(str(cause)) == str(cause) else None
        )

    def clean(self, text: str) -> str:
        """The text without the token."""
        return text.replace(str(self.api.token), "hf_***") if self.api.token else text

    def _fix(self, error: BaseException) -> str:
        status = http_status(error)
        if isinstance(error, OfflineModeIsEnabled):
            return "unset HF_HUB_OFFLINE"
        if status == 401:
            return f"log in again: hf auth login, or set HF_TOKEN to a token of yours ({self._tokens})"
        if status == 403:
            return f"use a name in a namespace of yours and a token with write access to it ({self._tokens})"
        if status == 404 and not _is_of_hub(error):
            return f"check HF_ENDPOINT, which is {self.endpoint}: the page there is no Hugging Face Hub"
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
        return AGAIN if status is None or status >= 408 else "change what it names, then run the same command again"

    def _words(self, error: BaseException) -> str:
        """What was answered, and by whom: the address is often what is wrong."""
        if isinstance(error, HfHubHTTPError):
            page = error.response.text.lstrip().startswith("<")
            message = None if page else error.server_message or error.response.headers.get("X-Error-Message")
            message = " ".join(str(message or error.response.reason_phrase).split())
            return f"{self.endpoint} answers {error.response.status_code} ({message})"
        if isinstance(error, OfflineModeIsEnabled):
            return "offline mode is on"
        words = " ".join(str(error).split()) or type(error).__name__
        return f"{self.endpoint}: {words}" if isinstance(error, UNANSWERED) else words


def find_cause(error: BaseException) -> BaseException:
    """What the Hub said, where the client has wrapped it."""
    while isinstance(error, HubError | RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def http_status(error: BaseException) -> int | None:
    """The HTTP status of an answer that was an error."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _is_of_hub(error: BaseException) -> bool:
    """Whether an answer is in the Hub's form: its errors carry a header of its own, those of other pages do not."""
    if not isinstance(error, HfHubHTTPError):
        return False
    return any(name in error.response.headers for name in ("X-Error-Message", "X-Error-Code"))


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
    """Mute the client: its log of retries names signed addresses, its progress bars are inside of ours, and explorers
    may hold data that it does not expect in a Space."""
    verbosity, shown = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        warnings.filterwarnings(
            "ignore", message="Cannot (dis|en)able progress bars"
        )  # as an environment variable says
        if shown:
            disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if shown:
                enable_progress_bars()
