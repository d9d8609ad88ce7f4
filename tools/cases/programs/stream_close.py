"""requests with stream=True: stream_close.py URL unread|read…"""

import sys
import time

import requests

import account

for manner in sys.argv[2:]:
    session = requests.Session()
    session.trust_env = False
    response = session.get(sys.argv[1], stream=True)
    time.sleep(0.1)
    if manner == "read":
        response.content
    account.tell(account.port(), True, "", response.status_code)
    response.close()
    session.close()
