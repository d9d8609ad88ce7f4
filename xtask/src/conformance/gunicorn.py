"""gunicorn.py FOLDER: the cases of gunicorn's tests/requests as JSON Lines.

A case is a file of bytes, in which line ends are spelled out, and a Python file beside it that says what is to be understood, or which
error is to be raised. Those that depend on a setting or on limits of gunicorn's are given without expectation.
"""

import glob
import importlib.machinery
import json
import os
import sys
import types
from unittest import mock

for name in ["gunicorn", "gunicorn.config", "gunicorn.http", "gunicorn.http.errors"]:
    sys.modules[name] = mock.MagicMock()


def expected(path):
    module = types.ModuleType("case")
    module.uri = lambda text: text
    module.cfg = None
    importlib.machinery.SourceFileLoader("case", path).exec_module(module)
    requests = module.request if isinstance(module.request, list) else [module.request]
    text = lambda value: value.decode("latin-1") if isinstance(value, bytes) else value
    data = lambda value: value.encode("latin-1") if isinstance(value, str) else value
    return [
        {"method": text(request["method"]), "target": text(request["uri"]), "body": data(request["body"]).hex()}
        for request in requests
        if isinstance(request, dict)
    ]


def case(path):
    with open(path, "rb") as file:
        data = file.read().replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    beside = path[: -len(".http")] + ".py"
    with open(beside) as file:
        text = file.read()
    has_setting = ".set(" in text or "LimitRequest" in text
    folder, name = os.path.split(path)
    kind = os.path.basename(folder)
    requests = expected(beside) if kind == "valid" and not has_setting else []
    return {"name": f"{kind}/{name}", "valid": kind == "valid", "setting": has_setting, "data": data.hex(), "requests": requests}


for path in sorted(glob.glob(os.path.join(sys.argv[1], "*valid", "*.http"))):
    print(json.dumps(case(path)))
