"""WSGI applications for gunicorn, uWSGI and waitress."""

import flask

flask_app = flask.Flask(__name__)
LARGE = b"0123456789abcde\n" * (614_400 // 16)


@flask_app.route("/", methods=["GET", "POST"])
def ignore_body():
    """Answers 614 400 bytes and never touches the request's body."""
    return flask.Response(LARGE, mimetype="text/plain")


@flask_app.route("/small", methods=["GET", "POST"])
def small():
    return "done\n"


@flask_app.route("/read", methods=["POST"])
def read_body():
    return flask.Response(LARGE[: len(flask.request.get_data()) and 614_400], mimetype="text/plain")


@flask_app.route("/denied", methods=["POST"])
def denied():
    return "not allowed\n", 403


@flask_app.route("/slow")
def slow():
    import time

    time.sleep(float(flask.request.args.get("s", "1")))
    return "late\n"


@flask_app.route("/exit")
def leave():
    import os

    os._exit(1)


@flask_app.route("/short")
def short():
    """Declares 5 000 bytes and gives 1 200."""
    return flask.Response([b"x" * 1200], headers={"Content-Length": "5000"})


@flask_app.route("/breaks")
def breaks():
    """A chunked response whose generator fails in the middle."""

    def generate():
        yield b"first part\n" * 50
        raise RuntimeError("the database went away")

    return flask.Response(generate(), mimetype="text/plain")


@flask_app.route("/drip")
def drip():
    """Twenty pieces of 1 000 bytes, one each 100 ms; ?length=1 declares them, else they are chunks."""
    import time

    def generate():
        for _ in range(20):
            yield b"d" * 1000
            time.sleep(0.1)

    headers = {"Content-Length": "20000"} if flask.request.args.get("length") else {}
    return flask.Response(generate(), headers=headers, mimetype="text/plain")
