-- One row: agreement of the devices' scores with the re-inference of the same build, over one drop.
select
    build_id,
    drop_id,
    count(*) as n,
    avg(abs(score - device_score)) as mean_abs_difference,
    max(abs(score - device_score)) as max_abs_difference,
    count_if(is_parity_broken) / count(*) as share_above_001
from {{ ref('stg_comparisons') }}
where is_parity_expected and device_score is not null
group by build_id, drop_id
