"""Show a web page on this computer to try fusion on.

  adasffuse demo                     http://127.0.0.1:7860, for this computer alone
  adasffuse demo --host 0.0.0.0      for everyone who reaches this computer: there is no password

Nothing is sent elsewhere.  Uploads are deleted after half an hour, and all of them when the page is closed (Ctrl-C).
"""

import argparse
import errno
import os
import socket
import sys
import tempfile
from pathlib import Path

from adasffuse.choices import DEFAULT_MEGAPIXELS
from adasffuse.cli.arguments import Parser
from adasffuse.installation import install_command
from adasffuse.messages import printable
from adasffuse.process import say

_MOST = 1000.0  # megapixels


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address that the page listens at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port of the page, 0: a free one (default: %(default)s)")
    parser.add_argument(
        "--megapixels",
        type=float,
        default=DEFAULT_MEGAPIXELS,
        help="size of the largest image that is taken (default: %(default)s)",
    )
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Serve the page until it is interrupted; the exit status: 1 where it cannot be served."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if not 0 < args.megapixels <= _MOST or not 0 <= args.port < 65536:
        parser.error(f"--megapixels lies in 0..{_MOST:g} and --port in 0..65535")
    fault = _fault_of(args.host, args.port)
    if fault:
        say(f"error: --host {printable(args.host)} --port {args.port}: {fault}", sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="adasffuse-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")  # uploads go with the folder
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        try:
            import gradio
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            say(f"error: the page needs gradio: {install_command('demo')}", sys.stderr)
            return 1
        from adasffuse.demo.page import make_page

        page = make_page(gradio, Path(folder), args.megapixels)
        try:
            _, address, _ = page.queue(max_size=20).launch(
                server_name=args.host,
                server_port=args.port or None,
                allowed_paths=[folder],
                max_file_size=f"{max(1, round(args.megapixels * 16))}mb",
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
            )
        except OSError:  # gradio's words name its own settings, which this command does not read
            what = "the page cannot be served there; give another address or port"
            say(f"error: --host {printable(args.host)} --port {args.port}: {what}", sys.stderr)
            return 1
        say(f"{address} (Ctrl-C ends it)")
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)
    return 0


def _fault_of(host: str, port: int) -> str:
    """Why nothing can listen at an address, and what to do; '' where it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            listener.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no computer can have
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return "the port is taken; give another --port, or 0 for a free one"
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            return "the port is the system's; give a --port from 1024 on"
        return "no address of this computer; give another --host, such as 127.0.0.1"
    return ""
