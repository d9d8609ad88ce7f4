"""A requests session: session.py URL COUNT [GAP]"""

import sys
import time

import requests
import urllib3

import account

urllib3.disable_warnings()
session = requests.Session()
session.trust_env = False
session.verify = False
for number in range(int(sys.argv[2])):
    if number and len(sys.argv) > 3:
        time.sleep(float(sys.argv[3]))
    try:
        response = session.get(sys.argv[1], timeout=10)
        account.tell(account.port(), True, "", response.status_code, len(response.content))
    except requests.RequestException as error:
        account.tell(account.port(), False, error)
session.close()
