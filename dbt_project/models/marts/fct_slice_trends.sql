select
    trends.*,
    slices.condition
from {{ ref('stg_slice_trends') }} as trends
left join {{ ref('stg_failure_slices') }} as slices
    on
        slices.build_id = trends.build_id
        and slices.outcome = trends.outcome
        and slices.rank = trends.rank
        and slices.finding = 'confirmed'
