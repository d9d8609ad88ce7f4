"""waitress with a body limit: waitress_limit.py ADDRESS PORT"""

import sys

import waitress

from plain_wsgi import application

waitress.serve(application, host=sys.argv[1], port=int(sys.argv[2]), max_request_body_size=50_000)
