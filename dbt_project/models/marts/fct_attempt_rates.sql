-- One row: a rate of one drop, scored by one model, at one level of one dimension; counts, so that drops add up.
-- `build_id` recorded the drop, `model_build_id` scored it: the same build, or its baseline.
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
