-- One row: a rate of one group of people, or the FMR between two groups, of a build, scored by one model.
select * from {{ ref('stg_differentials') }}
