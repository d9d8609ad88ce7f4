"""The versions of the software that made a case, as the software itself tells them."""

import functools
import re
import subprocess

from lab import HOME, PYTHON, PYTHON_OLD, clean_environment

COMMANDS = {
    "nginx": ["nginx", "-v"],
    "apache": ["apache2", "-v"],
    "haproxy": ["haproxy", "-v"],
    "lighttpd": ["lighttpd", "-v"],
    "redis": ["redis-server", "--version"],
    "redis-cli": ["redis-cli", "--version"],
    "go": ["go", "version"],
    "node": ["node", "--version"],
    "curl": ["curl", "--version"],
    "wget": ["wget", "--version"],
    "python": [PYTHON, "--version"],
    "java": ["java", "--version"],
    "openssl": ["openssl", "version"],
    "nftables": ["nft", "--version"],
    "iptables": ["iptables", "--version"],
    "puma": ["puma", "--version"],
    "uwsgi": ["uwsgi-core", "--version"],
    "ab": ["ab", "-V"],
    "wrk": ["wrk", "-v"],
    "siege": ["siege", "--version"],
    "socat": ["socat", "-V"],
}
PYTHON_PACKAGES = {"gunicorn", "flask", "waitress", "tornado", "aiohttp", "uvicorn", "requests", "urllib3", "httpx", "werkzeug"}
NODE_PACKAGES = {"express", "undici", "axios", "ioredis"}
DEBIAN_PACKAGES = {"jetty": "libjetty9-java", "tomcat": "libtomcat9-java", "dsniff": "dsniff", "netcat": "netcat-openbsd", "conntrack": "conntrack"}


@functools.lru_cache(maxsize=None)
def version_of(software):
    """`"gunicorn"`, `"gunicorn-old"`, or a name with a remark after a space ("gunicorn gthread")."""
    name, _, remark = software.partition(" ")
    remark = f" {remark}" if remark else ""
    if name == "gunicorn-old":
        return f"gunicorn {_package(PYTHON_OLD, 'gunicorn')}{remark}"
    if name in PYTHON_PACKAGES:
        return f"{name} {_package(PYTHON, name)}{remark}"
    if name in NODE_PACKAGES:
        said = _output(["node", "-p", f"require('{name}/package.json').version"])
        return f"{name} {said.strip()}{remark}"
    if name in DEBIAN_PACKAGES:
        said = _output(["dpkg-query", "-W", "-f", "${Version}", DEBIAN_PACKAGES[name]])
        return f"{name} {said.strip()}{remark}"
    if name not in COMMANDS:
        return software
    match = re.search(r"\d+(\.\d+)+[a-z]?", _output(COMMANDS[name]))
    return f"{name} {match.group(0) if match else 'unknown'}{remark}"


def _package(python, name):
    return _output([python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))"]).strip()


def _output(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=clean_environment({}), cwd=HOME)
    return done.stdout + done.stderr
