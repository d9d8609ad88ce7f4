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
