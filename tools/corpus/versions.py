"""What the software of a scenario says of its version."""

import json
import re
import subprocess

from lab import ENVIRONMENT, HOME, PYTHON

VERSIONS = {}


def version(software):
    if software in VERSIONS:
        return VERSIONS[software]
    commands = {
        "nginx": ["nginx", "-v"],
        "apache2": ["apache2", "-v"],
        "haproxy": ["haproxy", "-v"],
        "lighttpd": ["lighttpd", "-v"],
        "redis": ["redis-server", "--version"],
        "redis-cli": ["redis-cli", "--version"],
        "go": ["go", "version"],
        "node": ["node", "--version"],
        "curl": ["curl", "--version"],
        "wget": ["wget", "--version"],
        "python": ["python3", "--version"],
        "java": ["java", "--version"],
        "php": ["php", "--version"],
        "memcached": ["memcached", "-V"],
        "postgresql": ["postgres", "--version"],
        "psql": ["psql", "--version"],
        "openssl": ["openssl", "version"],
        "ab": ["ab", "-V"],
        "caddy": ["caddy", "version"],
        "varnish": ["varnishd", "-V"],
        "hitch": ["hitch", "--version"],
        "openssh": ["ssh", "-V"],
        "squid": ["squid", "-v"],
        "socat": ["socat", "-V"],
    }
    said = ""
    try:
        if software in commands:
            ran = subprocess.run(commands[software], capture_output=True, text=True, env=ENVIRONMENT)
            match = re.search(r"\d+(\.\d+)+\w*", ran.stdout + ran.stderr)
            said = match[0] if match else ""
        elif software == "gunicorn-old":
            said = "20.1.0"
        elif software in (
            "puma",
            "thin",
            "unicorn",
            "siege",
            "wrk",
            "hey",
            "uwsgi",
            "stunnel4",
            "tomcat",
            "jetty",
            "nc",
            "tcpkill",
            "ncat",
            "h2load",
            "iptables",
            "nftables",
        ):
            package = {
                "uwsgi": "uwsgi-core",
                "tomcat": "libtomcat10-java",
                "jetty": "libjetty9-java",
                "nc": "netcat-openbsd",
                "tcpkill": "dsniff",
                "h2load": "nghttp2-client",
            }.get(software, software)
            said = subprocess.run(
                ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True
            ).stdout
        elif software.startswith("npm:") or software in ("express", "fastify"):
            said = json.load(open(HOME / f"node/node_modules/{software.replace('npm:', '')}/package.json"))["version"]
        else:
            said = subprocess.run(
                [PYTHON, "-c", f'import importlib.metadata as m;print(m.version("{software}"))'],
                capture_output=True,
                text=True,
            ).stdout.strip()
    except (OSError, KeyError, ValueError):
        said = ""
    VERSIONS[software] = said
    return said
