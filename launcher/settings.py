"""From the configuration to what each process is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.broker.settings import BrokerSettings
from maitred.config import Config, import_path
from maitred.protocol.messages import AFFINITIES

if TYPE_CHECKING:
    from maitred.worker.agent_settings import AgentSettings

__all__ = ["of_agent", "of_broker"]


def of_broker(config: Config, log_level: str, log_format: str, *, parent: int | None) -> BrokerSettings:
    """What the broker is told."""
    it = config.broker
    return BrokerSettings(
        clients=it.clients,
        workers=it.workers,
        http=it.http,
        pools=[
            PoolSettings(
                name,
                pool.timeout_s,
                pool.max_queue,
                pool.max_attempts,
                pool.max_queue_bytes,
                pool.kill_grace_s,
                pool.kill_on_cancel,
                pool.quarantine_after,
                pool.session_ttl_s,
                pool.max_sessions,
                pool.max_snapshot_bytes,
                AFFINITIES[pool.affinity],
                pool.health_check_interval_s,
                pool.scale_up_after_s,
                pool.scale_down_after_s,
                pool.scale_cooldown_s,
                pool.drain_timeout_s,
                pool.majordomo_command,
                pool.majordomo_body,
                pool.memory_limit_bytes,
            )
            for name, pool in config.pools.items()
        ],
        given=[
            (pattern, ClientSettings(client.weight, client.max_in_flight, client.max_sessions))
            for pattern, client in config.clients.items()
        ],
        routing=list(config.routing.items()),
        run_dir=str(it.run_dir) if it.run_dir else None,
        heartbeat_interval_s=it.heartbeat_interval_s,
        heartbeat_liveness=it.heartbeat_liveness,
        drain_timeout_s=it.drain_timeout_s,
        drain_delay_s=it.drain_delay_s,
        max_message_bytes=it.max_message_bytes,
        max_queued_bytes=it.max_queued_bytes,
        busy_poll_s=it.busy_poll_s,
        receive_batch=it.receive_batch,
        high_water_mark=it.high_water_mark,
        io_threads=it.io_threads,
        gc_threshold=it.gc_threshold,
        log_level=log_level,
        log_format=log_format,
        majordomo=it.majordomo,
        majordomo_heartbeat_s=it.majordomo_heartbeat_s,
        key_file=str(it.key_file) if it.key_file else None,
        authorized_file=str(it.authorized_file) if it.authorized_file else None,
        insecure=it.insecure,
        http_token_file=str(it.http_token_file) if it.http_token_file else None,
        max_connections=it.max_connections,
        max_connections_per_address=it.max_connections_per_address,
        memory_limit_bytes=it.memory_limit_bytes,
        parent=parent,
    )


def of_agent(
    config: Config,
    name: str,
    endpoint: str,
    clients_endpoint: str | None,
    *,
    parent: int | None,
    reload: bool = False,
    key_file: str | None = None,
) -> AgentSettings:
    """What one pool's agent is told. The pool has an adapter. `reload`: a change of its files replaces all workers."""
    from maitred.worker.agent_settings import AgentSettings  # here: a broker alone does without anything of workers

    pool = config.pools[name]
    assert pool.adapter is not None
    return AgentSettings(
        pool=name,
        adapter=pool.adapter,
        endpoint=endpoint,
        size=pool.size.min,
        least=pool.size.min,
        most=pool.size.max,
        path=tuple(import_path(config)),
        clients_endpoint=clients_endpoint,
        slots=pool.concurrency,
        prefetch=pool.prefetch,
        gc_threshold=pool.gc_threshold,
        out_of_band_bytes=pool.out_of_band_bytes,
        start_method=pool.start_method,
        threads_per_worker=pool.threads_per_worker,
        startup_timeout_s=pool.startup_timeout_s,
        restart_backoff_s=pool.restart_backoff_s,
        restart_backoff_max_s=pool.restart_backoff_max_s,
        restart_budget=pool.restart_budget,
        restart_window_s=pool.restart_window_s,
        drain_timeout_s=pool.drain_timeout_s,
        warm_up=tuple((call.command, call.arguments) for call in pool.warm_up),
        warm_spares=pool.warm_spares,
        memory_limit_bytes=pool.memory_limit_bytes,
        recycle_requests=pool.recycle_requests,
        recycle_age_s=pool.recycle_age_s,
        recycle_growth_bytes=pool.recycle_growth_bytes,
        recycle_gpu_memory_bytes=pool.recycle_gpu_memory_bytes,
        gpu=pool.gpu,
        gpu_memory_bytes=pool.gpu_memory_bytes,
        key_file=key_file,
        reload=reload,
        parent=parent,
    )
