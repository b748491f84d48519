"""Downloads from plain addresses, which continue after an interruption."""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from adasffuse.images.image import ImageError

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte


def download(url: str, path: Path) -> str:
    """Download a file to `path`; an interrupted download in `path`.part is continued.

    Args:
        url: http, https or file address.
    Returns:
        the file's SHA-256 in hexadecimal.
    Raises:
        ImageError: the address cannot be reached, or the connection ended early.
        OSError: it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            continued = have > 0 and answer.status == 206
            start = have if continued else 0
            length = int(answer.headers.get("Content-Length") or 0)
            bar = tqdm(
                total=start + length or None, initial=start, unit="B", unit_scale=True, desc=path.name, disable=None
            )
            with open(partial, "ab" if continued else "wb") as file, bar:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            if length and partial.stat().st_size - start != length:
                raise ImageError(f"{url}: the connection ended early; the same command continues")
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: the partial file is complete
            raise ImageError(f"{url}: cannot be downloaded ({error.code} {error.reason})") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ImageError(f"{url}: cannot be reached ({reason}); the same command continues a download") from error
    with open(partial, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    partial.replace(path)
    return digest
