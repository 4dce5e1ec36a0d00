select
    outcomes.build_id,
    outcomes.device_model,
    coalesce(outcomes.thermal_state, 'unknown') as thermal_state,
    count(*) as n,
    quantile_cont(outcomes.device_latency_ms, 0.50) as p50_ms,
    quantile_cont(outcomes.device_latency_ms, 0.95) as p95_ms,
    quantile_cont(outcomes.device_latency_ms, 0.99) as p99_ms
from {{ ref('stg_attempt_outcomes') }} as outcomes
inner join {{ ref('dim_drop') }} as drops
    on drops.drop_id = outcomes.drop_id and drops.build_id = outcomes.build_id
where outcomes.device_latency_ms is not null
group by outcomes.build_id, outcomes.device_model, coalesce(outcomes.thermal_state, 'unknown')
