"""The worker of `mmbert serve`: Prefect's process worker on a work pool, a process for each run.

A machine of one's own joins a pool with Prefect's command:

    prefect worker start --pool mmbert --type process
"""

from __future__ import annotations

import os

from flows.serve.automations import HEARTBEAT_S
from flows.serve.deployments import DEFAULT, POOL, TRAINING

MOST_RUNS = max(4, os.cpu_count() or 1)
COMMAND = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
COMMAND += ["--name", "mmbert serve"]
SETTINGS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    "PREFECT_CLIENT_MAX_RETRIES": "8",  # minutes, in which a server starts again
    "PREFECT_WORKER_QUERY_SECONDS": "3",
}


def make_pool() -> None:
    """Make the work pool where the server has none of its name.

    Each of its two queues takes MOST_RUNS at once: the worker's own `--limit` ends the worker when
    a run that crashed starts again at once (Prefect 3.8). Its runs do not print: what they say
    stands on their pages, and a run whose worker was killed would end at its next line.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            template["variables"]["properties"]["stream_output"]["default"] = False
            pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
            client.create_work_pool(pool)
            queue = client.read_work_queue_by_name(DEFAULT, work_pool_name=POOL)
            client.update_work_queue(queue.id, concurrency_limit=MOST_RUNS)
            client.create_work_queue(TRAINING, work_pool_name=POOL, concurrency_limit=MOST_RUNS)
