"""Namespaces, processes, packet capture and the kernel's account of resets.

A `Lab` lives for one recording. It makes network namespaces, starts real servers and clients in
them, records one vantage point with tcpdump and reads `tcp:tcp_send_reset` from an own tracefs
instance. Nothing that it made outlives `close()`; it ends only processes that it started.
"""

import ctypes
import fcntl
import heapq
import ipaddress
import json
import os
import pathlib
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = ROOT / "target" / "cases"
PROGRAMS = HERE / "programs"
PYTHON = str(HOME / "python" / "bin" / "python")
PYTHON_OLD = str(HOME / "python-old" / "bin" / "python")
GO = str(HOME / "bin" / "gotool")
TRACEFS = pathlib.Path("/sys/kernel/tracing")

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000


class Failed(Exception):
    """The recording did not show what it was made to show, or could not be made."""


@dataclass
class Account:
    """What one request looked like to the client that made it."""

    port: int
    ok: bool
    error: str = ""
    status: int = 0
    received: int = 0


@dataclass
class Reset:
    """One `tcp_send_reset` event."""

    time: float
    source: str
    destination: str
    reason: str
    state: str
    side: str = ""


@dataclass
class Connection:
    """One TCP connection of the capture, with the kernel's and the client's words on it."""

    client: str
    server: str
    first: float
    packets: int = 0
    rst_times: dict = field(default_factory=lambda: {"client": [], "server": []})
    resets: list = field(default_factory=list)
    accounts: list = field(default_factory=list)
    # Number among the connections to the same server endpoint, from 0, in order of their SYN.
    index: int = 0

    @property
    def server_port(self):
        return int(self.server.rsplit(":", 1)[1])

    @property
    def client_port(self):
        return int(self.client.rsplit(":", 1)[1])

    def reset_by(self, side, *reasons):
        """Did that side's kernel send a reset (for one of these reasons)?"""
        return any(r.side == side and (not reasons or r.reason in reasons) for r in self.resets)

    @property
    def first_reset(self):
        return min(self.resets, key=lambda r: r.time, default=None)

    @property
    def failed(self):
        """Did the client's own account of any request on this connection end in an error?"""
        return any(not a.ok for a in self.accounts)

    @property
    def error(self):
        return next((a.error for a in self.accounts if not a.ok), "")


@dataclass
class Truth:
    """What is right to say about a connection, and why."""

    expect: list
    why: str
    also: list = field(default_factory=list)
    doubt: list = field(default_factory=list)
    lost: bool | None = None
    # Resets in the capture that no kernel sent, or that the recording's end cut off, are expected.
    forged: bool = False


def blame(cause, why, also=(), lost=None):
    return Truth([cause] if isinstance(cause, str) else list(cause), why, list(also), lost=lost)


def clean(why="ended well", lost=False, also=(), forged=False, doubt=()):
    return Truth([], why, list(also), list(doubt), lost, forged)


@dataclass
class Host:
    """A network namespace: one machine."""

    name: str
    address: str
    interface: str = "lo"
    address6: str = ""


def in_namespace(name, function):
    """Runs `function` in a thread that has entered the namespace, and returns its result."""
    result = []

    def work():
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{name}") as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        result.append(function())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not result:
        raise Failed(f"could not work in namespace {name}")
    return result[0]


class Wire(threading.Thread):
    """A point-to-point link of two TUN devices with a delay, and a filter that may drop packets.

    `drop` is called as drop(packet: bytes, to_server: bool) -> bool.
    """

    def __init__(self, client_fd, server_fd, delay):
        super().__init__(daemon=True)
        self.fds = (client_fd, server_fd)
        self.delay = delay
        self.drop = None
        self.stop = False

    def run(self):
        queue = []
        order = 0
        other = {self.fds[0]: self.fds[1], self.fds[1]: self.fds[0]}
        while not self.stop:
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _, _, fd, packet = heapq.heappop(queue)
                try:
                    os.write(fd, packet)
                except OSError:
                    pass
            wait = min(0.05, max(0.0, queue[0][0] - now)) if queue else 0.05
            for fd in select.select(list(self.fds), [], [], wait)[0]:
                try:
                    packet = os.read(fd, 70000)
                except OSError:
                    continue
                if self.drop and self.drop(packet, fd == self.fds[0]):
                    continue
                order += 1
                heapq.heappush(queue, (time.monotonic() + self.delay, order, other[fd], packet))


class Lab:
    """Everything that one recording needs; use as a context manager."""

    def __init__(self, name):
        self.name = name
        self.temp = pathlib.Path(tempfile.mkdtemp(prefix="cases-"))
        os.chmod(self.temp, 0o755)
        self.prefix = f"bpc{os.getpid()}"
        self.namespaces = []
        self.processes = []
        self.wires = []
        self.fds = []
        self.accounts = []
        self.tcpdump = None
        self.capture = self.temp / "capture.pcap"
        self.trace = TRACEFS / "instances" / self.prefix
        self.interface_count = 0

    def __enter__(self):
        self._trace_on()
        return self

    def __exit__(self, *_):
        self.close()

    # Machines and links

    def host(self, name, address="", address6=""):
        full = f"{self.prefix}-{name}"
        sh("ip", "netns", "add", full)
        self.namespaces.append(full)
        sh("ip", "-n", full, "link", "set", "lo", "up")
        # Duplicate address detection and router solicitations would only add noise.
        self.sysctl(full, "net/ipv6/conf/all/accept_dad", 0)
        self.sysctl(full, "net/ipv6/conf/default/accept_dad", 0)
        return Host(full, address, "lo", address6)

    def one_host(self, ipv6=False):
        """One machine; client and server talk over its loopback."""
        host = self.host("host", "10.77.0.1", "fd77::1" if ipv6 else "")
        sh("ip", "-n", host.name, "addr", "add", "10.77.0.1/32", "dev", "lo")
        if ipv6:
            sh("ip", "-n", host.name, "addr", "add", "fd77::1/128", "dev", "lo")
        return host

    def wired(self, delay=0.0):
        """Client and server with one wire of `delay` seconds (one way) between them."""
        client = self.host("client", "10.77.1.1")
        server = self.host("server", "10.77.1.2")
        fds = []
        for host in (client, server):
            host.interface = "eth0"
            fds.append(in_namespace(host.name, lambda: _open_tun("eth0")))
            sh("ip", "-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            sh("ip", "-n", host.name, "link", "set", "eth0", "up")
        self.fds += fds
        wire = Wire(fds[0], fds[1], delay)
        wire.start()
        self.wires.append(wire)
        return client, server, wire

    def routed(self):
        """Client, router and server joined by veth pairs, as three machines."""
        client = self.host("client", "10.77.2.1")
        router = self.host("router", "10.77.2.254")
        server = self.host("server", "10.77.3.1")
        self.join(client, router, "eth0", "left", "10.77.2.1/24", "10.77.2.254/24")
        self.join(server, router, "eth0", "right", "10.77.3.1/24", "10.77.3.254/24")
        for host, via in ((client, "10.77.2.254"), (server, "10.77.3.254")):
            host.interface = "eth0"
            sh("ip", "-n", host.name, "route", "add", "default", "via", via)
        self.sysctl(router.name, "net/ipv4/ip_forward", 1)
        router.interface = "any"
        return client, router, server

    def join(self, one, other, one_interface, other_interface, one_address, other_address):
        """A cable between two machines, with segmentation offload off as on a real wire."""
        self.interface_count += 1
        temporary = f"v{os.getpid() % 100000}n{self.interface_count}"
        sh("ip", "link", "add", f"{temporary}a", "type", "veth", "peer", "name", f"{temporary}b")
        for end, host, name, address in (
            ("a", one, one_interface, one_address),
            ("b", other, other_interface, other_address),
        ):
            sh("ip", "link", "set", f"{temporary}{end}", "netns", host.name, "name", name)
            sh("ip", "-n", host.name, "addr", "add", address, "dev", name)
            sh("ip", "-n", host.name, "link", "set", name, "gso_max_segs", "1")
            sh("ip", "-n", host.name, "link", "set", name, "up")

    def sysctl(self, host, key, value):
        name = host.name if isinstance(host, Host) else host
        sh("ip", "netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/{key}")

    def nft(self, host, rules):
        sh("ip", "netns", "exec", host.name, "nft", rules)

    # Processes

    def start(self, host, argv, port=None, ready=None, env=None, cwd=None, stdin=None):
        """Starts a program in the background and waits until it listens on `port`."""
        number = len(self.processes)
        log = open(self.temp / f"log{number}.txt", "wb")
        process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, *map(str, argv)],
            stdin=stdin or subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd or self.temp,
            env=clean_environment(env),
            start_new_session=True,
        )
        process.log = self.temp / f"log{number}.txt"
        self.processes.append(process)
        if port:
            for one in port if isinstance(port, (list, tuple)) else [port]:
                self.until(lambda: listens(process.pid, one), 20, f"{argv[0]} to listen on {one}", process)
        if ready:
            self.until(lambda: ready.encode() in process.log.read_bytes(), 20, f"{argv[0]} to say {ready!r}", process)
        return process

    def until(self, condition, seconds, what, process=None):
        """Waits for a condition; fails after `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if process is not None and process.poll() is not None and not condition():
                raise Failed(f"{what}: it ended with {process.returncode}: {tail(process.log)}")
            if time.monotonic() > end:
                detail = tail(process.log) if process is not None else ""
                raise Failed(f"waited {seconds} s for {what}: {detail}")
            time.sleep(0.02)

    def run(self, host, argv, seconds=20, env=None, stdin=None):
        """Runs a program to its end and returns its standard output."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, *map(str, argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.temp,
            env=clean_environment(env),
            start_new_session=True,
        )
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Failed(f"{argv[0]} took longer than {seconds} s") from None
        self.last_error = err.decode(errors="replace")
        self.last_code = process.returncode
        return out.decode(errors="replace")

    def stop(self, process, sig=signal.SIGTERM, seconds=5):
        """Ends a process that `start` began, and its group."""
        if process.poll() is None:
            signal_group(process, sig)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        signal_group(process, signal.SIGKILL)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            pass

    # Clients with an account of their own

    def curl(self, host, *args, seconds=20):
        """Runs curl and keeps what it saw; returns the accounts, one a transfer."""
        form = '{"port":%{local_port},"code":%{exitcode},"status":"%{http_code}","bytes":%{size_download},"error":"%{errormsg}"}\n'
        out = self.run(
            host, ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{stderr}" + form, *args], seconds
        )
        del out
        accounts = []
        for line in self.last_error.splitlines():
            if line.startswith('{"port"'):
                seen = json.loads(line.replace("\\", "/"))
                accounts.append(
                    Account(seen["port"], seen["code"] == 0, seen["error"], int(seen["status"]), seen["bytes"])
                )
        self.accounts += accounts
        return accounts

    def client(self, host, argv, seconds=30, env=None, stdin=None):
        """Runs a client of `programs/`, which prints one JSON account a line."""
        out = self.run(host, argv, seconds, env, stdin)
        return self.take_accounts(out)

    def take_accounts(self, text):
        accounts = []
        for line in text.splitlines():
            if line.startswith('{"port"'):
                seen = json.loads(line)
                accounts.append(
                    Account(
                        int(seen["port"]),
                        bool(seen["ok"]),
                        str(seen.get("error", "")),
                        int(seen.get("status", 0)),
                        int(seen.get("received", 0)),
                    )
                )
        self.accounts += accounts
        return accounts

    # Recording

    def record(self, host, interface=None, expression="tcp or icmp or icmp6", snap=0):
        """Starts tcpdump on one interface and waits until it captures; `snap` bytes a packet, 0 for all."""
        if self.tcpdump:
            raise Failed("one recording has one vantage point")
        self.tcpdump = self.start(
            host,
            ["tcpdump", "-i", interface or host.interface, "-B", "16384", "-s", str(snap), "-U", "-n", "-Z", "root",
             "-w", self.capture, expression],
            ready="listening on",
        )

    def finish(self):
        """Stops tcpdump once it has been handed every packet."""
        # The ring hands over a block at the latest after its one second timeout.
        time.sleep(1.2)
        self.tcpdump.send_signal(signal.SIGINT)
        self.tcpdump.wait(5)
        said = self.tcpdump.log.read_text()
        if "0 packets dropped by kernel" not in said:
            raise Failed(f"tcpdump lost packets: {said}")

    def _trace_on(self):
        if not (TRACEFS / "instances").is_dir():
            sh("mount", "-t", "tracefs", "nodev", TRACEFS)
        self.trace.mkdir()
        (self.trace / "trace_clock").write_text("mono")
        (self.trace / "buffer_size_kb").write_text("2048")
        (self.trace / "events/tcp/tcp_send_reset/enable").write_text("1")
        self.clock_offset = time.time() - time.monotonic()

    def resets(self):
        """The kernel's `tcp_send_reset` events so far."""
        pattern = re.compile(r"\s([0-9.]+): tcp_send_reset: .*src=(\S+) dest=(\S+) state=(\S+) reason=(\S+)")
        found = []
        for line in (self.trace / "trace").read_text().splitlines():
            match = pattern.search(line)
            if match:
                stamp, source, destination, state, reason = match.groups()
                found.append(
                    Reset(float(stamp) + self.clock_offset, unmapped(source), unmapped(destination), reason, state)
                )
        return found

    def close(self):
        for process in reversed(self.processes):
            self.stop(process, seconds=2)
        for wire in self.wires:
            wire.stop = True
            wire.join(1)
        for fd in self.fds:
            os.close(fd)
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False)
        try:
            self.trace.rmdir()
        except OSError:
            pass
        shutil.rmtree(self.temp, ignore_errors=True)


def _open_tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return fd


def sh(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def tail(path):
    return path.read_text(errors="replace")[-600:] if path.exists() else ""


def clean_environment(extra):
    """No proxy settings and no user configuration reach the programs."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": "/tmp",
                   "PYTHONPATH": str(PROGRAMS), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
                   "NODE_PATH": str(HOME / "node" / "node_modules"), "NODE_ENV": "production"}
    environment.update(extra or {})
    return environment


def signal_group(process, sig):
    """Signals the process group that `start` made; the group has the number of its leader."""
    try:
        os.killpg(process.pid, sig)
    except (ProcessLookupError, PermissionError):
        pass


def listens(pid, port):
    for table in ("tcp", "tcp6"):
        try:
            lines = pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            if parts[3] == "0A" and int(parts[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False


def children(pid):
    """The direct children of a process, such as a server's workers."""
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Reading the capture back: only to list its connections and when resets were seen.

LINK_HEADER = {1: 14, 12: 0, 101: 0, 113: 16, 276: 20}


def packets(path):
    """Yields (time, ip packet) of a little-endian microsecond pcap file, as tcpdump writes here."""
    data = path.read_bytes()
    magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", data[:24])
    if magic != 0xA1B2C3D4 or link not in LINK_HEADER:
        raise Failed(f"unexpected capture format {magic:#x}, link {link}")
    at = 24
    while at + 16 <= len(data):
        seconds, micros, stored, _ = struct.unpack("<IIII", data[at : at + 16])
        yield seconds + micros / 1e6, data[at + 16 + LINK_HEADER[link] : at + 16 + stored]
        at += 16 + stored


def endpoint(address, port):
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def unmapped(text):
    """An endpoint of an IPv6 socket that speaks IPv4, as "[::ffff:10.0.0.1]:80", in its IPv4 form."""
    match = re.fullmatch(r"\[::ffff:([0-9.]+)\]:(\d+)", text)
    if match:
        return f"{match.group(1)}:{match.group(2)}"
    return text


def segments(path):
    """Yields (time, source, destination, flags) of every TCP segment."""
    for stamp, packet in packets(path):
        if not packet:
            continue
        if packet[0] >> 4 == 4:
            if packet[9] != 6:
                continue
            source, destination = ipaddress.ip_address(packet[12:16]), ipaddress.ip_address(packet[16:20])
            tcp = packet[(packet[0] & 15) * 4 :]
        else:
            if packet[6] != 6:
                continue
            source, destination = ipaddress.ip_address(packet[8:24]), ipaddress.ip_address(packet[24:40])
            tcp = packet[40:]
        ports = struct.unpack("!HH", tcp[:4])
        yield stamp, endpoint(source, ports[0]), endpoint(destination, ports[1]), tcp[13]


def connections(path):
    """Every TCP connection of the capture in order of its first packet."""
    FIN, SYN, RST, ACK = 1, 2, 4, 16
    live = {}
    found = []
    per_server = {}
    for stamp, source, destination, flags in segments(path):
        key = frozenset((source, destination))
        current = live.get(key)
        opens = flags & SYN and not flags & ACK
        if current is None or (opens and current.ended):
            # A capture that begins mid-stream: the higher port is the client's.
            towards_server = opens or int(source.rsplit(":", 1)[1]) > int(destination.rsplit(":", 1)[1])
            client, server = (source, destination) if towards_server else (destination, source)
            current = Connection(client, server, stamp)
            current.ended = False
            current.index = per_server.get(server, 0)
            per_server[server] = current.index + 1
            live[key] = current
            found.append(current)
        current.packets += 1
        if flags & (FIN | RST):
            current.ended = True
        if flags & RST:
            current.rst_times["client" if source == current.client else "server"].append(stamp)
    return found
