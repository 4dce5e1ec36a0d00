select
    drop_id,
    any_value(build_id) as build_id,
    any_value(site) as site,
    any_value(modality) as modality,
    any_value(protocol) as protocol,
    any_value(captured_from) as captured_from,
    any_value(captured_until) as captured_until,
    any_value(manifest_sha256) as manifest_sha256,
    count(*) as n_files,
    sum(bytes)::bigint as n_bytes,
    sum(rows_in)::bigint as rows_in,
    sum(rows_valid)::bigint as rows_valid,
    sum(rows_quarantined)::bigint as rows_quarantined
from {{ ref('stg_drop_files') }}
group by drop_id
