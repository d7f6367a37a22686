"""The Climate Data Store's own client, without hidden retries and with errors of one sentence."""

import hashlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cdsapi
import requests
from cdsapi.api import get_url_key_verify
from ecmwf.datastores.processing import DownloadError, LinkError, ProcessingFailedError

from functory.errors import InputError, SourceUnavailable

LOGGER = logging.getLogger(__name__)

REQUEST_TIMEOUT = 60
"""Seconds that the service may stay silent within one request."""
LONGEST_POLL = 20.0
"""Seconds between two looks at a job that waits in the queue, at most."""

# What the service says when there never will be data for a request. Whatever else makes a job fail
# (an archive under maintenance, a lost worker) can pass.
NO_DATA = ("no data", "nodata", "none of the data", "valid combination")

# The client warns when it cannot read the service's news; the request that follows fails for the
# same reason and says so in one sentence.
warnings.filterwarnings("ignore", category=UserWarning, module=r"ecmwf\.datastores\.client")


def check_credentials() -> None:
    """Refuse, before any use of the network, credentials that cannot work.

    Raises
    ------
    InputError
        Where the client would find no address or no key in its own places (`CDSAPI_URL` and
        `CDSAPI_KEY`, the file that `CDSAPI_RC` names, `~/.cdsapirc`), or a key of the retired
        service.
    """
    _credentials()


def fetch(dataset: str, request: dict[str, Any], target: Path) -> None:
    """Have the service answer a request and write the answer, of the size and sum it announces.

    Waits as long as the job waits in the service's queue; news of it goes to the log.

    Raises
    ------
    SourceUnavailable
        What may pass: no connection, an overloaded service, a failed job, a damaged transfer.
    InputError
        What will not pass by itself: credentials, licences, a request that cannot be met.
    """
    with _client(dataset) as client:
        results = client.retrieve(dataset, request)
        results.download(str(target))
        intact = _checksum_holds(target, results.asset, results.location)
    if not intact:
        raise SourceUnavailable(
            f"the file of {dataset} from the CDS has another checksum than announced: "
            "try again later"
        )


def valid_values(dataset: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask, without a job, which values each part of some requests may have, given the others.

    Returns
    -------
    list
        For each request, the values by the names of its parts; of parts that it leaves out, too.

    Raises
    ------
    SourceUnavailable, InputError
        As `fetch`.
    """
    if not requests:
        return []
    with _client(dataset) as client:
        process = client.client.get_process(dataset)
        return [process.apply_constraints(request) for request in requests]


@contextmanager
def _client(dataset: str) -> Iterator[Any]:
    """Open the service's client; what goes wrong with it becomes one sentence."""
    url, key = _credentials()
    try:
        yield cdsapi.Client(
            quiet=True,
            progress=False,
            timeout=REQUEST_TIMEOUT,
            retry_max=1,
            sleep_max=LONGEST_POLL,
            info_callback=LOGGER.info,
            warning_callback=LOGGER.warning,
            error_callback=LOGGER.error,
            # The client's debug messages hold the key.
            debug_callback=lambda *args, **kwargs: None,
        )
    # AssertionError and KeyError are what the client makes of answers outside the protocol.
    except (
        requests.RequestException,
        ProcessingFailedError,
        DownloadError,
        LinkError,
        AssertionError,
        KeyError,
    ) as error:
        # Not chained: the service may repeat what it was sent, the key included.
        raise _explanation(error, dataset, url, key) from None


def _credentials() -> tuple[str, str]:
    """Return the address and the key that the client would use."""
    places = "CDSAPI_URL and CDSAPI_KEY, or the file ~/.cdsapirc,"
    try:
        url, key, _ = get_url_key_verify(None, None, None)
    except Exception:  # a bare one is what the client raises where something is missing
        url = key = None
    if not url or not key:
        raise InputError(
            f"no credentials for the CDS found: set {places} to the url and the personal access "
            "token that your profile page of the CDS shows"
        )
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"the url of the CDS is no http address: correct it in {places[:-1]}")
    if ":" in key:
        raise InputError(
            "the CDS key has a colon, as only the retired service wanted it: set "
            f"{places} to the personal access token that your profile page of the CDS shows"
        )
    # requests quotes a header value that it refuses, so such a key must not get that far.
    if not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            "the CDS key has spaces or unprintable characters: copy the personal access token of "
            f"your profile page of the CDS into {places[:-1]} once more"
        )
    return url, key


def _checksum_holds(path: Path, asset: dict[str, Any], location: str) -> bool:
    announced = str(asset.get("file:checksum") or "").lower()
    if not announced:
        return True
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    # The service writes the sum as a number, without leading zeros.
    announced = announced.lstrip("0")
    if digest.hexdigest().lstrip("0") == announced:
        return True
    # The sum is the object store's tag of the file. A file that was stored in parts has a hash of
    # hashes for a tag, recognised by the number of parts after it, which says nothing about the
    # content as a whole.
    tag = requests.head(location, timeout=REQUEST_TIMEOUT).headers.get("ETag", "")
    return re.fullmatch(rf'"?0*{re.escape(announced)}-\d+"?', tag) is not None


def _explanation(
    error: Exception, dataset: str, url: str, key: str
) -> InputError | SourceUnavailable:
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return _refusal(response, _one_line(_detail(response), key), dataset, url)
    if isinstance(error, ProcessingFailedError):
        return _job_failure(_one_line(str(error), key), dataset)
    if isinstance(error, requests.RequestException):
        return SourceUnavailable(
            f"the CDS at {urlsplit(url).netloc} cannot be reached or broke off "
            f"({type(error).__name__}): check url and network, or try again later"
        )
    return SourceUnavailable(
        f"the CDS gave no complete answer for {dataset} "
        f"({type(error).__name__}: {_one_line(str(error), key)}): try again later"
    )


def _refusal(
    response: requests.Response, detail: str, dataset: str, url: str
) -> InputError | SourceUnavailable:
    status = response.status_code
    of_a_job = "/jobs/" in response.url
    if status == 400 and of_a_job:
        return _job_failure(detail, dataset)
    # 404 of a job: its results have expired, and a new request makes new ones.
    if status >= 500 or status in (408, 429) or (status == 404 and of_a_job):
        return SourceUnavailable(f"the CDS answered {status} ({detail}): try again later")
    if status == 401:
        return InputError(
            f"the CDS does not know the key ({detail}): copy the personal access token of your "
            "profile page of the CDS into CDSAPI_KEY or ~/.cdsapirc"
        )
    if status == 403 and "licence" in detail.lower():
        site = url.rstrip("/").removesuffix("/api")
        return InputError(
            f"the CDS wants the licences of {dataset} accepted first: accept them at "
            f"{site}/datasets/{dataset}?tab=download#manage-licences"
        )
    if status == 404:
        return InputError(
            f"the CDS has no data set {dataset} at {urlsplit(url).netloc}: correct `dataset` or "
            "the url in CDSAPI_URL or ~/.cdsapirc"
        )
    if any(words in detail.lower() for words in NO_DATA):
        return _job_failure(detail, dataset)
    return InputError(
        f"the CDS refuses the request of {dataset} with {status} ({detail}): ask for what the "
        "download form of the data set offers, or for less at once"
    )


def _job_failure(detail: str, dataset: str) -> InputError | SourceUnavailable:
    if any(words in detail.lower() for words in NO_DATA):
        return InputError(
            f"the CDS has no such data in {dataset} ({detail}): leave out years, months and "
            "variables that it does not offer"
        )
    return SourceUnavailable(f"the CDS could not finish {dataset} ({detail}): try again later")


def _detail(response: requests.Response) -> str:
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        return str(response.reason)
    words = [str(body[key]) for key in ("title", "detail", "traceback") if body.get(key)]
    return ": ".join(words) or str(response.reason)


def _one_line(text: str, key: str) -> str:
    line = " ".join(text.split()).replace(key, "***").rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]}…"
