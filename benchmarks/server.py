"""The server that all are measured against: one process of nginx on one core, or a sink where nginx is missing.

It reads each PUT with its body and answers 200 without one, on connections that it never closes by itself. Where the
server is to take its time it is the sink: nginx cannot wait without a module.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from benchmarks.launcher import own_seconds
from benchmarks.results import SCHEMES, Scheme

# A process of Python's needs a second, on a busy machine several.
_START_WITHIN = 20.0

# No master process: the only one there is serves. 4 KB take a request's head and body in one read. Kept connections
# end neither by count nor by age.
_NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_header_buffer_size 4k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    server {{
        listen 127.0.0.1:{plain} backlog=1024;
        listen 127.0.0.1:{tls} ssl backlog=1024;
        location / {{ return 200; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: what it is, where it listens, and the authority that vouches for it."""

    version: str
    ports: Mapping[Scheme, int]
    ca_file: Path
    pid: int

    def url(self, scheme: Scheme) -> str:
        """The URL of a hub on it."""
        return f"{'https' if scheme == 'tls' else 'http'}://127.0.0.1:{self.ports[scheme]}/benchmark"

    def cpu(self) -> float:
        """The processor time that it has used, in seconds."""
        return own_seconds(self.pid)


@contextmanager
def serving(folder: Path, *, core: int, delay: float = 0.0) -> Iterator[Server]:
    """A server on a core, for as long as the block lasts; its files are below `folder`, `delay` is in seconds."""
    ca_file, certificate, key = (folder / name for name in ("ca.pem", "certificate.pem", "key.pem"))
    _certify(ca_file, certificate, key)
    ports = _free_ports()
    program = nginx()
    start = _sink_after(delay) if delay or program is None else _nginx_by(program)
    version, command = start(folder, ports, certificate, key)
    process = subprocess.Popen(["taskset", "--cpu-list", str(core), *command], cwd=Path(__file__).parents[1])
    try:
        for port in ports.values():
            _wait(process, port)
        yield Server(version, ports, ca_file, process.pid)
    finally:
        process.terminate()
        process.wait()


def nginx() -> str | None:
    """The path of nginx, which often stands where only an administrator's shell looks; None where it is missing."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _certify(ca_file: Path, certificate: Path, key: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(key)
    for pem in issued.cert_chain_pems:
        pem.write_to_path(certificate, append=True)


def _free_ports() -> dict[Scheme, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return dict(zip(SCHEMES, (one.getsockname()[1], other.getsockname()[1]), strict=True))


_Start = Callable[[Path, Mapping[Scheme, int], Path, Path], tuple[str, list[str]]]


def _nginx_by(program: str) -> _Start:
    def start(folder: Path, ports: Mapping[Scheme, int], certificate: Path, key: Path) -> tuple[str, list[str]]:
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
        version = re.search(r"nginx/(\S+)", said)
        settings = folder / "nginx.conf"
        settings.write_text(
            _NGINX.format(folder=folder, certificate=certificate, key=key, plain=ports["plain"], tls=ports["tls"]),
            encoding="utf-8",
        )
        command = [program, "-p", str(folder), "-c", str(settings), "-e", "stderr"]
        return f"nginx {version[1] if version else ''}".strip(), command

    return start


def _sink_after(delay: float) -> _Start:
    def start(_folder: Path, ports: Mapping[Scheme, int], certificate: Path, key: Path) -> tuple[str, list[str]]:
        order = json.dumps({"ports": ports, "certificate": str(certificate), "key": str(key), "delay": delay})
        why = f"which answers after {delay * 1000:g} ms" if delay else "since nginx is missing"
        return f"the built-in sink, {why}", [sys.executable, "-m", "benchmarks.sink", order]

    return start


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + _START_WITHIN
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    sys.exit("the server that all are measured against has not started; what it said is above")
