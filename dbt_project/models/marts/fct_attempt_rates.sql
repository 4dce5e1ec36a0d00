select
    drops.build_id,
    counts.build_id as model_build_id,
    counts.drop_id,
    counts.metric,
    counts.dimension,
    counts.level,
    case when counts.dimension = 'device_model' then counts.level end as device_model,
    sum(counts.numerator)::bigint as numerator,
    sum(counts.denominator)::bigint as denominator,
    count(distinct counts.subject_id) as n_subjects,
    sum(counts.numerator) / sum(counts.denominator) as value
from {{ ref('stg_metric_counts') }} as counts
inner join {{ ref('dim_drop') }} as drops on drops.drop_id = counts.drop_id
group by drops.build_id, counts.build_id, counts.drop_id, counts.metric, counts.dimension, counts.level
