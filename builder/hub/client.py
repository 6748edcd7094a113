"""A client of the Hub that repeats requests and explains errors. The token never leaves this module."""

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

TRIES = 7  # of one request
NOT_STARTED = (429, 503)  # HTTP statuses after which the Hub has not begun the request
TEMPORARY = (None, 408, 409, 425, *NOT_STARTED, 500, 502, 504)  # statuses of temporary errors; None: no answer
AFTER_WRITE = (*TEMPORARY, 404)  # after a write: a replica may not have it yet
NO_ANSWER = (httpx2.TransportError, ConnectionError, TimeoutError, JSONDecodeError)  # a proxy may answer with a page
LONGEST_PAUSE = 30.0  # seconds, where the Hub does not state one
LONGEST_WAIT = 600.0  # seconds: where the Hub asks for more, raise the error
NOT_FOUND_TRIES = 5  # where the answer is 404
AGAIN = "run the same command again: files that have arrived are not sent again"
CHANGE_CARD = (
    "change that key in the card (of a corpus also the card's line in SHA256SUMS: sha256sum README.md); "
    "nothing was sent"
)
Answer = TypeVar("Answer")


class _Api(HfApi):
    """The client without the validation of a card inside each commit: `Hub.validate_card` has validated it."""

    def _validate_yaml(self, content: str, **options: Any) -> None:
        pass


@dataclass
class Hub:
    """One endpoint and one account.

    Attributes:
        api: The client.
        notice: Called with a line of text at every pause.
        account: Name of the account; None without a login.
    """

    api: HfApi
    notice: Callable[[str], None] = lambda line: None
    account: str | None = None

    @classmethod
    def connect(cls, endpoint: str | None, notice: Callable[[str], None], anonymous: bool = False) -> Hub:
        """Connect to a Hub with the stored login, or the token in HF_TOKEN.

        Args:
            endpoint: Its address. Default: HF_ENDPOINT.
            notice: Called with a line of text at every pause.
            anonymous: Whether to connect without a token where there is none.

        Raises:
            HubError: There is no token, or it is wrong or can only read.
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
            hub._log_in()
        return hub

    def _log_in(self) -> None:
        reply = self.call("log in", self.api.whoami)
        self.account = str(reply.get("name"))
        role = ((reply.get("auth") or {}).get("accessToken") or {}).get("role")
        if role == "read":
            raise HubError(f"the token of {self.account} can only read", f"make one with write access: {self._tokens}")

    @property
    def endpoint(self) -> str:
        """Address of the Hub, without a slash at the end."""
        return str(self.api.endpoint)

    @property
    def _tokens(self) -> str:
        return f"{self.endpoint}/settings/tokens"

    def address(self, kind: str, repo: str) -> str:
        """Address of the page of a repository; `kind` is "dataset", "model" or "space"."""
        return f"{self.endpoint}/{constants.REPO_TYPES_URL_PREFIXES.get(kind, '')}{repo}"

    def call(
        self,
        action: str,
        function: Callable[..., Answer],
        *arguments: Any,
        advice: Mapping[int, str] | None = None,
        codes: Collection[int | None] = TEMPORARY,
        **options: Any,
    ) -> Answer:
        """Call a function of the client, and repeat it after temporary errors, with growing pauses.

        Args:
            action: Description of the request for the error message: "log in".
            function: Makes one request, or several that it does not repeat once they are done.
            *arguments: Its arguments.
            advice: Fixes by HTTP status, where the general one does not fit.
            codes: HTTP statuses to repeat the request after: `TEMPORARY`, or `AFTER_WRITE` to read what was written.
            **options: Its keyword arguments.

        Raises:
            HubError: The Hub refuses the request, or does not answer it after TRIES attempts.
        """
        try:
            return self.attempt(function, *arguments, codes=codes, **options)
        except SynthmirError:
            raise
        except Exception as error:
            self.raise_error(action, error, advice)

    def attempt(
        self,
        function: Callable[..., Answer],
        *arguments: Any,
        codes: Collection[int | None] = TEMPORARY,
        **options: Any,
    ) -> Answer:
        """As `call`, but raises the last error as the client does."""
        for attempt in count(1):
            try:
                return function(*arguments, **options)
            except SynthmirError:
                raise
            except Exception as error:
                if not self.wait_to_retry(error, attempt, codes):
                    raise
        raise AssertionError("unreachable")

    def validate_card(self, content: str, kind: str, path: str) -> None:
        """Let the Hub validate the YAML of a card, which it would otherwise refuse in the last commit.

        Args:
            content: The text of the card.
            kind: Type of the repository: "dataset", "model" or "space".
            path: The card's file, for the error message.

        Raises:
            HubError: The Hub does not accept a value; the message names the key and the file `path`. Or it cannot be
                reached.
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

        if faults := self.call(f"validate {path}", post):
            raise HubError(
                f"{path}: the Hub does not accept its YAML: {self.hide_token('; '.join(faults))}", CHANGE_CARD
            )

    def wait_to_retry(self, error: Exception, attempt: int, codes: Collection[int | None] = TEMPORARY) -> bool:
        """Wait before the next attempt at a request, if there should be one.

        Args:
            error: What the attempt raised.
            attempt: Number of the attempt that failed, from 1.
            codes: HTTP statuses to repeat the request after; None in it stands for no answer. Default: `TEMPORARY`.

        Returns:
            True after the pause. False, at once, if the request should not be repeated: for its cause, after the last
            attempt, or where the Hub asks for a pause of more than 600 seconds.
        """
        cause = find_cause(error)
        status = http_status(cause)
        if attempt >= (NOT_FOUND_TRIES if status == 404 else TRIES) or status not in codes:
            return False
        if isinstance(cause, LocalTokenNotFoundError | OfflineModeIsEnabled):
            return False
        if status is None:
            if not isinstance(cause, NO_ANSWER) or "client error" in str(cause):  # Xet's message for a 4xx
                return False
            if isinstance(cause, httpx2.ConnectError) and self.account is None:
                return False  # the first request: no Hub at this address
        asked = _read_retry_after(cause)
        if asked is not None and asked > LONGEST_WAIT:
            return False
        seconds = min(2.0 ** (attempt - 1), LONGEST_PAUSE) if asked is None else asked
        reason = f"the Hub answers {status}" if status else f"no valid answer from {self.endpoint}"
        self.notice(f"{reason}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        return True

    def raise_error(self, action: str, error: Exception, advice: Mapping[int, str] | None = None) -> NoReturn:
        """Raise HubError with the reason and the fix, without the token in it or in its cause.

        Args:
            action: Description of the request for the error message: "log in".
            error: What the request raised.
            advice: Fixes by HTTP status, where the general one does not fit. Default: none.

        Raises:
            HubError: Always.
        """
        cause = find_cause(error)
        status = http_status(cause)
        fix = (advice or {}).get(status) if status is not None else None
        raise HubError(f"cannot {action}: {self.hide_token(self._describe(cause))}", fix or self._fix(cause)) from (
            error if self.hide_token(str(error)) == str(error) and self.hide_token(str(cause)) == str(cause) else None
        )

    def hide_token(self, text: str) -> str:
        """Replace the token in a text."""
        return text.replace(str(self.api.token), "hf_***") if self.api.token else text

    def _fix(self, error: BaseException) -> str:
        status = http_status(error)
        if isinstance(error, OfflineModeIsEnabled):
            return "unset HF_HUB_OFFLINE"
        if status == 401:
            return f"log in again: hf auth login, or set HF_TOKEN to your token ({self._tokens})"
        if status == 403:
            return f"use a name in your namespace and a token with write access to it ({self._tokens})"
        if status == 404 and not _is_of_hub(error):
            return f"check HF_ENDPOINT, which is {self.endpoint}: the page there is no Hugging Face Hub"
        if status == 404:
            return "check the name, and that the token may see it"
        if status == 412:
            return "someone else is writing there: look at it, then run the same command again"
        if status == 429 and (asked := _read_retry_after(error)) is not None:
            return f"wait {asked:.0f} s, then {AGAIN}"
        if "xet-write-token" in str(error):
            return "this Hub has no Xet storage: set HF_HUB_DISABLE_XET=1"
        if status is None and isinstance(error, NO_ANSWER):
            return f"check the network and HF_ENDPOINT, then {AGAIN}"
        return AGAIN if status is None or status >= 408 else "correct that, then run the same command again"

    def _describe(self, error: BaseException) -> str:
        """The answer, and the address that it came from, which is often wrong."""
        if isinstance(error, HfHubHTTPError):
            page = error.response.text.lstrip().startswith("<")
            message = None if page else error.server_message or error.response.headers.get("X-Error-Message")
            message = " ".join(str(message or error.response.reason_phrase).split())
            return f"{self.endpoint} answers {error.response.status_code} ({message})"
        if isinstance(error, OfflineModeIsEnabled):
            return "offline mode is on"
        text = " ".join(str(error).split()) or type(error).__name__
        return f"{self.endpoint}: {text}" if isinstance(error, NO_ANSWER) else text


def find_cause(error: BaseException) -> BaseException:
    """The original error, where the client has wrapped it."""
    while isinstance(error, HubError | RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def http_status(error: BaseException) -> int | None:
    """The HTTP status of an error, None without an answer."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _is_of_hub(error: BaseException) -> bool:
    """Whether an answer is from a Hub, whose errors have headers that other servers do not send."""
    if not isinstance(error, HfHubHTTPError):
        return False
    return any(name in error.response.headers for name in ("X-Error-Message", "X-Error-Code"))


def _read_retry_after(error: BaseException) -> float | None:
    """Seconds that the headers of an answer ask for: Retry-After as a number or date, or the rate limit."""
    if not isinstance(error, HfHubHTTPError):
        return None
    header = str(error.response.headers.get("Retry-After") or "").strip()
    if header.isdigit():
        return float(header)
    if header:
        try:
            return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    limit = parse_ratelimit_headers(error.response.headers) if error.response.status_code == 429 else None
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


@contextmanager
def quiet_client() -> Iterator[None]:
    """Silence the client inside the block.

    Its log of retries contains signed addresses, its progress bars would mix with those of synthmir, and it warns of
    data in a Space, which an explorer has.
    """
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
