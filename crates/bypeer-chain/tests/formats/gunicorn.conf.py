import multiprocessing
import os

bind = "0.0.0.0:8000"
workers = multiprocessing.cpu_count() * 2 + 1
worker_class: str = 'gthread'  # threads
threads = 4
keepalive = 1_5  # seconds
timeout = 120


def on_starting(server):
    keepalive = 7
