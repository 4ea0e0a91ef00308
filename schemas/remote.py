"""What is elsewhere: file systems that wait patiently, and another try where the network fails.

In: a URL. Out: its fsspec file system, set to give up on a silent server; `retried`, through which
every look-up and read goes. fsspec's own clients try again unevenly: that of https never, s3's for
half a second, the hub's for 15 s; none notices a body that ends too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

import fsspec
import tenacity

from schemas.errors import UserError
from schemas.store import local_path

T = TypeVar("T")

NUM_TRIES = 8
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # doubled after each try: two minutes in all
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0

# Their errors are no OSError in general.
_CLIENTS = {"aiohttp", "aiobotocore", "botocore", "fsspec", "httpx", "httpx2", "huggingface_hub"}
_DEFINITE = (FileNotFoundError, PermissionError, IsADirectoryError)
_PASSING_STATUS = {408, 425, 429}  # of the 4xx


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an input and the path in it."""
    protocol = url.partition("://")[0] if "://" in url else "file"
    options: dict[str, object] = {}
    if protocol in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(
            total=300, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S
        )
        # A server that compresses on the way gives other bytes than those of its file.
        options = {
            "client_kwargs": {"timeout": timeout},
            "headers": {"Accept-Encoding": "identity"},
        }
    elif protocol in ("s3", "s3a"):
        wait = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
        options = {"config_kwargs": wait}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return fs, path


def ask(url: str) -> dict[str, object]:
    """What its file system says of a file, in one try; whatever error the file system has."""
    fs, path = file_system(url)
    with _honest():
        return dict(fs.info(path))


def open_remote(url: str, piece_bytes: int) -> IO[bytes]:
    """A remote file that is read in pieces, each one request; in one try, as `ask`."""
    fs, path = file_system(url)
    with _honest():
        opened: IO[bytes] = fs.open(path, "rb", block_size=piece_bytes, cache_type="none")
        return opened


def exists(url: str) -> bool:
    """Whether there is such a file or folder; raises as `retried`."""

    def look() -> bool:
        try:
            ask(url)
        except FileNotFoundError:
            return False
        return True

    return retried(look, url)


def read_bytes(url: str) -> bytes:
    """A small file whole; raises as `retried`."""

    def read() -> bytes:
        fs, path = file_system(url)
        with _honest():
            return bytes(fs.cat_file(path))

    return retried(read, url)


@contextmanager
def _honest() -> Iterator[None]:
    """fsspec says that there is no such file of any https server that did not answer."""
    try:
        yield
    except FileNotFoundError as error:
        if error.__cause__ is not None and _status(error.__cause__) != 404:
            raise error.__cause__ from None
        raise


def tells_of_absence(error: Exception) -> bool:
    """Whether a file that may be read, if it is there, is not: S3 refuses what is absent to those
    who may not list its bucket."""
    return isinstance(error, FileNotFoundError | PermissionError) or _status(error) in (403, 404)


def retried(call: Callable[[], T], url: str) -> T:
    """What `call` returns, tried again with exponential backoff while the network is at fault.

    Raises UserError after the last try, or at once where the server refuses; errors that are not
    the network's, and FileNotFoundError, as they are.
    """
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass if local_path(url) is None else _never),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_S, LONGEST_WAIT_S, jitter=FIRST_WAIT_S),
        stop=tenacity.stop_after_attempt(NUM_TRIES),
        reraise=True,
    )
    try:
        return tries(call)
    except FileNotFoundError:
        raise
    except Exception as error:
        if not _is_of_network(error):
            raise
        raise UserError(_told(error, url)) from error


def _told(error: Exception, url: str) -> str:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    if local_path(url) is not None:
        return f"{url} cannot be read ({reason}); mend that and run the same command again"
    if _may_pass(error):
        return (
            f"{url} could not be read in {NUM_TRIES} tries ({reason}); the same command goes on "
            "from here once its server answers"
        )
    return f"{url} is refused ({reason}); give its credentials or read a copy"


def _is_of_network(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS


def _may_pass(error: BaseException) -> bool:
    """Whether another try may go better."""
    if not _is_of_network(error) or isinstance(error, _DEFINITE):
        return False
    if "Credentials" in type(error).__name__:  # botocore found none
        return False
    status = _status(error)
    return status is None or status in _PASSING_STATUS or not 400 <= status < 500


def _never(error: BaseException) -> bool:
    return False


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error of aiohttp or of the hub's client."""
    for found in (
        getattr(error, "status", None),
        getattr(getattr(error, "response", None), "status_code", None),
    ):
        if isinstance(found, int):
            return found
    return None
