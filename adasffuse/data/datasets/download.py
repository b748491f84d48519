"""Downloads that continue where they stopped, from plain addresses alone."""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from adasffuse.images.image import ImageError

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte


def download(url: str, path: Path, sha256: str = "") -> str:
    """Download a file to `path`; what an interrupted download left in `path`.part is continued.

    Args:
        url: http, https or file address.
        sha256: of the whole file, in hexadecimal, where it is known.
    Returns:
        the file's SHA-256.
    Raises:
        ImageError: the address cannot be reached, or the file has another SHA-256 than stated: it is removed.
        OSError: it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            continued = have > 0 and answer.status == 206
            length = int(answer.headers.get("Content-Length") or 0)
            with (
                open(partial, "ab" if continued else "wb") as file,
                tqdm(
                    total=length + have * continued or None,
                    initial=have * continued,
                    unit="B",
                    unit_scale=True,
                    desc=path.name,
                    disable=None,
                ) as bar,
            ):
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            received = partial.stat().st_size - (have if continued else 0)
            if length and received != length:
                raise ImageError(f"{url}: the connection ended early; the same command continues")
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is left to be sent
            raise ImageError(f"{url}: cannot be downloaded ({error.code} {error.reason})") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ImageError(f"{url}: cannot be reached ({reason}); the same command continues a download") from error
    with open(partial, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and digest != sha256:
        partial.unlink()
        raise ImageError(f"{url}: SHA-256 {digest} instead of {sha256}; it was removed, download it again")
    partial.replace(path)
    return digest
