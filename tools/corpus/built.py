"""Builds the programs that are compiled, and a certificate of our own, under target/corpus."""

import os
import subprocess

from lab import BUILT, ENVIRONMENT, HOME, PROGRAMS
from servers import JETTY_JARS, TOMCAT_JARS, jars


def build():
    sources = [path for path in PROGRAMS.iterdir() if path.suffix in (".go", ".c", ".java")]
    stamp = BUILT / "stamp"
    if stamp.exists() and all(path.stat().st_mtime < stamp.stat().st_mtime for path in sources):
        return
    BUILT.mkdir(parents=True, exist_ok=True)
    (HOME / "home").mkdir(exist_ok=True)
    go = dict(os.environ, GO111MODULE="off", GOFLAGS="")
    run("go", "build", "-o", BUILT / "gotool", PROGRAMS / "gotool.go", environment=go)
    run("gcc", "-O1", "-w", "-o", BUILT / "linger_fork", PROGRAMS / "linger_fork.c")
    classes = {"JClient": (), "JServer": (), "TomcatServer": TOMCAT_JARS, "JettyServer": JETTY_JARS}
    for name, patterns in classes.items():
        run("javac", "-nowarn", "-cp", jars(*patterns), "-d", BUILT, PROGRAMS / f"{name}.java")
    key, certificate = BUILT / "tls.key", BUILT / "tls.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=test.example"),
        *("-keyout", key, "-out", certificate),
    )
    (BUILT / "tls.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    stamp.touch()


def run(*words, environment=None):
    subprocess.run([str(word) for word in words], check=True, env=environment or ENVIRONMENT, capture_output=True)
