"""Settings of a Celery worker, which `dagster_celery.app` looks for under this name on PYTHONPATH.

Start one on each machine: PYTHONPATH=deploy/celery celery -A dagster_celery.app worker -Q dagster -n NAME@%h
"""

import os

broker_url = os.environ["DAGSTER_CELERY_BROKER_URL"]
result_backend = os.environ["DAGSTER_CELERY_BACKEND_URL"]
accept_content = ["json"]  # nothing is unpickled
broker_connection_retry_on_startup = True

worker_concurrency = 1  # a run has the machine to itself: its cores, its GPU
worker_max_tasks_per_child = 1  # and a process, as it would without Celery: code and memory are fresh
worker_prefetch_multiplier = 1
worker_disable_prefetch = True  # take no second run while one is under way, which an idle worker could have

result_extended = True  # which worker had a run
result_expires = (
    30 * 24 * 3600
)  # seconds. A run whose result has expired counts as lost while it goes on: longer than the longest run
