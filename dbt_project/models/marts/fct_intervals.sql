-- One row: a rate of a build over all its drops, scored by one model, with its interval.
select * from {{ ref('stg_intervals') }}
