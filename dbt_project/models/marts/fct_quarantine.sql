select drop_id, stage, event_kind, reason, count(*) as n_rows, sum(raw_bytes)::bigint as n_bytes
from (
    select * from {{ ref('stg_quarantine_parse') }}
    union all by name
    select * from {{ ref('stg_quarantine_validate') }}
)
group by drop_id, stage, event_kind, reason
