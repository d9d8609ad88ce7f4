"""Connections that post every 7 ms each, until the server closes them: busy_idle.py HOST PORT"""

import http.client
import sys
import threading
import time

from account import tell


def work(pause):
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
    connection.connect()
    port = connection.sock.getsockname()[1]
    sock = connection.sock
    for _ in range(30):
        try:
            connection.sock = sock
            connection.request("POST", "/small", body=b"a=1")
            response = connection.getresponse()
            response.read()
            announced = (response.getheader("Connection") or "").lower() == "close"
        except Exception as error:  # any failure is the account
            tell(port, False, f"{type(error).__name__}: {error}")
            return
        tell(port, True, "", response.status)
        if announced:
            return
        time.sleep(pause)


threads = [threading.Thread(target=work, args=(pause,)) for pause in (0.0, 0.004, 0.009)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
