-- Counts of the drops against those behind the build's intervals. A warning, not an error: between the counting of a
-- new drop and the next measurement of its build, the two differ rightly.
{{ config(severity='warn') }}
with added as (
    select
        build_id,
        model_build_id,
        metric,
        dimension,
        level,
        sum(numerator) as numerator,
        sum(denominator) as denominator
    from {{ ref('fct_attempt_rates') }}
    group by all
)

select *
from {{ ref('fct_intervals') }} as intervals
inner join added using (build_id, model_build_id, metric, dimension, level)
where intervals.numerator <> added.numerator or intervals.denominator <> added.denominator
