with recorded as (
    select
        build_id,
        count(distinct drop_id) as n_drops,
        min(captured_from) as first_captured_from,
        max(captured_until) as last_captured_until
    from {{ ref('stg_drop_files') }}
    group by build_id
),

scored as (
    select build_id, count(distinct drop_id) as n_scored_drops, max(decision_threshold) as decision_threshold,
        coalesce(bool_or(is_recorded), false) as is_recorded
    from {{ ref('stg_attempt_outcomes') }}
    group by build_id
)

select
    build_id,
    coalesce(n_drops, 0) as n_drops,
    coalesce(n_scored_drops, 0) as n_scored_drops,
    first_captured_from,
    last_captured_until,
    decision_threshold,
    coalesce(is_recorded, false) as is_recorded
from recorded
full join scored using (build_id)
