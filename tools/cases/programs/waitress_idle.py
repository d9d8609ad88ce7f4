"""waitress with a channel timeout of one second: waitress_idle.py ADDRESS PORT"""

import sys

import waitress

from plain_wsgi import application

waitress.serve(application, host=sys.argv[1], port=int(sys.argv[2]), channel_timeout=1, cleanup_interval=1, threads=8)
