bind = "127.0.0.1:18001"
worker_class = "gthread"
threads = 8
keepalive = 65
