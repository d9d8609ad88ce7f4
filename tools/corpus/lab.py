"""Namespaces, links, processes, recording, and the kernel's events, for one scenario.

A `Lab` lives for one recording. Nothing that it made outlives `close()`; it ends only processes that it started.
"""

import ctypes
import fcntl
import glob
import heapq
import json
import os
import pathlib
import random
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from capture import endpoint

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What `install` installs and `make` builds.
HOME = ROOT / "target" / "corpus"
BUILT = HOME / "built"
PROGRAMS = HERE / "programs"
PYTHON = str(HOME / "python/bin/python")
PYTHON_OLD = str(HOME / "python-old/bin/python")
TRACE = pathlib.Path("/sys/kernel/tracing/instances/bypeer-corpus")
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


class Failed(Exception):
    """The recording could not be made, or does not show what it was made to show."""


def command(*a):
    r = subprocess.run([str(x) for x in a], capture_output=True, text=True)
    if r.returncode:
        raise Failed(f"{a}: {r.stderr.strip()}")
    return r.stdout


ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
    "LANG": "C",
    "HOME": str(HOME / "home"),
    "PYTHONPATH": str(PROGRAMS),
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "NODE_PATH": str(HOME / "node/node_modules"),
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
}


def in_ns(name, f):
    res = []
    err = []

    def w():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{name}") as h:
                if libc.setns(h.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            res.append(f())
        except Exception as e:
            err.append(e)

    t = threading.Thread(target=w)
    t.start()
    t.join()
    if err:
        raise err[0]
    return res[0]


class Host:
    def __init__(self, name, addr, iface="lo", addr6=""):
        self.name, self.addr, self.iface, self.addr6 = name, addr, iface, addr6


class Wire(threading.Thread):
    def __init__(self, cfd, sfd, delay, loss=0.0, seed=1):
        super().__init__(daemon=True)
        self.fds = [cfd, sfd]
        self.delay = delay
        self.loss = loss
        self.drop = None
        self.stop = False
        self.rng = random.Random(seed)
        self.mangle = None
        self.dropped = []

    def run(self):
        q = []
        n = 0
        while not self.stop:
            now = time.monotonic()
            while q and q[0][0] <= now:
                _, _, fd, p = heapq.heappop(q)
                try:
                    os.write(fd, p)
                except OSError:
                    pass
            wait = min(0.02, max(0, q[0][0] - now)) if q else 0.02
            for fd in select.select(self.fds, [], [], wait)[0]:
                try:
                    p = os.read(fd, 70000)
                except OSError:
                    continue
                tosrv = fd == self.fds[0]
                if self.drop and self.drop(p, tosrv):
                    self.dropped.append((time.time(), tosrv))
                    continue
                if self.loss and self.rng.random() < self.loss:
                    continue
                n += 1
                heapq.heappush(q, (time.monotonic() + self.delay, n, self.fds[1] if tosrv else self.fds[0], p))


def open_tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return fd


def listens(pid, port, host=None):
    for t in ("tcp", "tcp6"):
        try:
            L = open(f"/proc/{pid}/net/{t}").read().splitlines()[1:]
        except OSError:
            continue
        for l in L:
            f = l.split()
            if f[3] == "0A" and int(f[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False


def children(pid):
    out = []
    try:
        for p in open(f"/proc/{pid}/task/{pid}/children").read().split():
            out += [int(p)] + children(int(p))
    except OSError:
        pass
    return out


class Lab:
    def __init__(self, name, num):
        self.name, self.num = name, num
        self.temp = pathlib.Path(tempfile.mkdtemp(prefix="bypeer-corpus-"))
        os.chmod(self.temp, 0o777)
        self.pre = f"bc{num}"
        self.nss = []
        self.procs = []
        self.wires = []
        self.ofds = []
        self.accounts = []
        self.dumps = []
        self.marks = {}
        self.servers = []
        self.clients = []
        self.ifc = 0
        self.notes = []
        self.output = []
        self.capdesc = []
        self.tol = 0.06
        self.trace_on()
        self.begin = time.time()

    # net
    def host(self, name, addr="", addr6=""):
        full = f"{self.pre}-{name}"
        command("ip", "netns", "add", full)
        self.nss.append(full)
        command("ip", "-n", full, "link", "set", "lo", "up")
        for k in ("all", "default"):
            self.sysctl(full, f"net/ipv6/conf/{k}/accept_dad", 0)
        return Host(full, addr, "lo", addr6)

    def one(self, ipv6=False):
        h = self.host("host", f"127.81.{self.num}.1")
        if ipv6:
            h.addr6 = f"fd81:{self.num}::1"
            command("ip", "-n", h.name, "addr", "add", h.addr6 + "/128", "dev", "lo")
        return h

    def wired(self, delay=0.02, loss=0.0, mtu=1500):
        client = self.host("client", f"10.81.{self.num}.1")
        server = self.host("server", f"10.81.{self.num}.2")
        fds = []
        for host in (client, server):
            host.iface = "eth0"
            fds.append(in_ns(host.name, lambda: open_tun("eth0")))
            command("ip", "-n", host.name, "addr", "add", host.addr + "/24", "dev", "eth0")
            command("ip", "-n", host.name, "link", "set", "eth0", "up", "mtu", mtu)
        self.ofds += fds
        wire = Wire(fds[0], fds[1], delay, loss, seed=self.num)
        wire.start()
        self.wires.append(wire)
        self.wire = wire
        return client, server, wire

    def routed(self):
        n = self.num
        client = self.host("client", f"10.81.{n}.1")
        router = self.host("router", f"10.81.{n}.126")
        server = self.host("server", f"10.81.{n}.129")
        self.join(client, router, "eth0", "left", f"10.81.{n}.1/25", f"10.81.{n}.126/25")
        self.join(server, router, "eth0", "right", f"10.81.{n}.129/25", f"10.81.{n}.254/25")
        for host, via in ((client, f"10.81.{n}.126"), (server, f"10.81.{n}.254")):
            host.iface = "eth0"
            command("ip", "-n", host.name, "route", "add", "default", "via", via)
        self.sysctl(router, "net/ipv4/ip_forward", 1)
        router.iface = "left"
        return client, router, server

    def join(self, a, b, ai, bi, aa, ba):
        self.ifc += 1
        t = f"bc{self.num}v{self.ifc}"
        command("ip", "link", "add", t + "a", "type", "veth", "peer", "name", t + "b")
        for e, h, nm, ad in (("a", a, ai, aa), ("b", b, bi, ba)):
            command("ip", "link", "set", t + e, "netns", h.name, "name", nm)
            command("ip", "-n", h.name, "addr", "add", ad, "dev", nm)
            command("ip", "-n", h.name, "link", "set", nm, "gso_max_segs", "1")
            command("ip", "-n", h.name, "link", "set", nm, "up")

    def sysctl(self, h, k, v):
        command("ip", "netns", "exec", h.name if isinstance(h, Host) else h, "sh", "-c", f"echo {v} > /proc/sys/{k}")

    def ns(self, h, *a):
        return command("ip", "netns", "exec", h.name, *a)

    # processes
    def start(self, h, argv, port=None, ready=None, env=None, cwd=None, stdin=None, wait=20):
        n = len(self.procs)
        log = open(self.temp / f"log{n}.txt", "wb")
        p = subprocess.Popen(
            ["ip", "netns", "exec", h.name, *map(str, argv)],
            stdin=stdin or subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd or self.temp,
            env={**ENVIRONMENT, **(env or {})},
            start_new_session=True,
        )
        p.log = self.temp / f"log{n}.txt"
        p.argv = [str(x) for x in argv]
        self.procs.append(p)
        for q in [port] if isinstance(port, int) else port or []:
            self.until(lambda: listens(p.pid, q), wait, f"{argv[0]} listen {q}", p)
        if ready:
            self.until(lambda: ready.encode() in p.log.read_bytes(), wait, f"{argv[0]} say {ready}", p)
        return p

    def until(self, condition, seconds, what, p=None):
        end = time.monotonic() + seconds
        while not condition():
            tail = p.log.read_text(errors="replace")[-900:] if p else ""
            if p and p.poll() is not None and not condition():
                raise Failed(f"{what}: ended {p.returncode}: {tail}")
            if time.monotonic() > end:
                raise Failed(f"timeout: {what}: {tail}")
            time.sleep(0.02)

    def run(self, h, argv, sec=30, env=None, stdin=None):
        p = subprocess.Popen(
            ["ip", "netns", "exec", h.name, *map(str, argv)],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.temp,
            env={**ENVIRONMENT, **(env or {})},
            start_new_session=True,
        )
        try:
            o, e = p.communicate(stdin, timeout=sec)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            p.communicate()
            raise Failed(f"{argv[:3]} > {sec} s")
        self.err = e.decode(errors="replace")
        self.code = p.returncode
        return o.decode(errors="replace")

    def bg(self, f, *a, **k):
        t = threading.Thread(target=f, args=a, kwargs=k)
        t.err = None
        t.start()
        return t

    def stop(self, p, sig=15, sec=3):
        if p.poll() is None:
            try:
                os.killpg(p.pid, sig)
            except OSError:
                pass
            try:
                p.wait(sec)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(p.pid, 9)
        except OSError:
            pass
        try:
            p.wait(3)
        except subprocess.TimeoutExpired:
            pass

    def killtree(self, p, sig=9):
        pids = [p.pid] + children(p.pid)
        self.marks.setdefault("t_kill", time.time())
        for q in pids:
            try:
                os.kill(q, sig)
            except OSError:
                pass

    # clients
    def take(self, text, tag=None):
        out = []
        for l in text.splitlines():
            if l.startswith('{"'):
                try:
                    d = json.loads(l)
                except ValueError:
                    continue
                if "port" in d:
                    if tag:
                        d["tag"] = tag
                    self.accounts.append(d)
                    out.append(d)
        return out

    def curl(self, h, *a, sec=30, ok_codes=(0,)):
        f = '{"port":%{local_port},"exit":%{exitcode},"status":%{http_code},"bytes":%{size_download},"sent":%{size_upload},"error":"%{errormsg}","secs":%{time_total},"n":%{num_connects}}\n'
        t = time.time()
        self.run(h, ["curl", "-sS", "-k", "--noproxy", "*", "-o", "/dev/null", "-w", "%{stderr}" + f, *a], sec)
        out = []
        for l in self.err.splitlines():
            if l.startswith('{"port"'):
                d = json.loads(re.sub(r'("(?:status|exit|port)":)0*(\d)', r"\1\2", l.replace("\\", "/")))
                d.update(client="curl", t=t, ok=d["exit"] in ok_codes)
                d["error"] = d["error"] or None
                out.append(d)
        self.accounts += out
        return out

    def client(self, h, argv, sec=60, env=None, stdin=None, tag=None):
        return self.take(self.run(h, argv, sec, env, stdin), tag)

    def py(self, h, kind, **kw):
        return self.client(h, [PYTHON, PROGRAMS / "pooled_client.py", kind, json.dumps(kw)], kw.pop("sec", 60))

    # capture
    def record(self, h, iface=None, expr="tcp or icmp or icmp6", where=None, snap=0):
        n = len(self.dumps)
        f = self.temp / f"cap{n}.pcap"
        p = self.start(
            h,
            ["tcpdump", "-i", iface or h.iface, "-B", "16384", "-s", snap, "-U", "-n", "-Z", "root", "-w", f, expr],
            ready="listening on",
        )
        p.file = f
        self.dumps.append(p)
        self.capdesc.append(
            where or {"lo": "loopback"}.get(iface or h.iface, f"{h.name.split('-')[1]}, interface {iface or h.iface}")
        )

    def finish(self):
        self.end = time.time()
        time.sleep(1.15)
        for p in self.dumps:
            for q in children(p.pid) or [p.pid]:
                os.kill(q, 2)
            p.wait(5)
            said = p.log.read_text()
            if "0 packets dropped by kernel" not in said:
                raise Failed("tcpdump lost: " + said)

    def trace_on(self):
        if TRACE.exists():
            try:
                TRACE.rmdir()
            except OSError:
                pass
        if not TRACE.exists():
            TRACE.mkdir()
        (TRACE / "trace_clock").write_text("mono")
        (TRACE / "buffer_size_kb").write_text("8192")
        (TRACE / "trace").write_text("")
        for e in ("tcp/tcp_send_reset", "tcp/tcp_receive_reset", "sock/inet_sock_set_state"):
            (TRACE / f"events/{e}/enable").write_text("1")
        self.off = time.time() - time.monotonic()

    def trace(self):
        send, recv, states = [], [], []
        text = (TRACE / "trace").read_text()
        for l in text.splitlines():
            m = re.match(r"\s*(.+?)-(\d+)\s+\[\d+\]\s+\S+\s+([0-9.]+): (\w+): (.*)$", l)
            if not m:
                continue
            task, _, t, ev, r = m.groups()
            t = round(float(t) + self.off, 6)
            if ev == "tcp_send_reset":
                x = re.search(r"src=(\S+) dest=(\S+) state=(\S+) reason=(\S+)", r)
                send.append(dict(t=t, task=task, src=endpoint(x[1]), dst=endpoint(x[2]), state=x[3], reason=x[4]))
            elif ev == "tcp_receive_reset":
                x = re.search(r"sport=(\d+) dport=(\d+) saddr=(\S+) daddr=(\S+) saddrv6=(\S+) daddrv6=(\S+)", r)
                v6 = "AF_INET6" in r and not x[5].startswith("::ffff:")
                recv.append(
                    dict(
                        t=t,
                        task=task,
                        local=f"[{x[5]}]:{x[1]}" if v6 else f"{x[3]}:{x[1]}",
                        remote=f"[{x[6]}]:{x[2]}" if v6 else f"{x[4]}:{x[2]}",
                    )
                )
            elif ev == "inet_sock_set_state" and "IPPROTO_TCP" in r:
                x = re.search(
                    r"sport=(\d+) dport=(\d+) saddr=(\S+) daddr=(\S+) saddrv6=(\S+) daddrv6=(\S+) oldstate=TCP_(\S+) newstate=TCP_(\S+)",
                    r,
                )
                v6 = not x[5].startswith("::ffff:") and "AF_INET6" in r
                a = f"[{x[5]}]:{x[1]}" if v6 else f"{x[3]}:{x[1]}"
                b = f"[{x[6]}]:{x[2]}" if v6 else f"{x[4]}:{x[2]}"
                states.append((t, a, b, x[7], x[8]))
        return send, recv, states

    def close(self):
        for p in reversed(self.procs):
            self.stop(p, sec=1.5)
        for w in self.wires:
            w.stop = True
            w.join(1)
        for f in self.ofds:
            try:
                os.close(f)
            except OSError:
                pass
        for n in self.nss:
            subprocess.run(["ip", "netns", "del", n], capture_output=True)
        shutil.rmtree(self.temp, ignore_errors=True)
