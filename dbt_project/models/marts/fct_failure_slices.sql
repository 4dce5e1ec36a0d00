-- One row: a slice of a build's attempts that was confirmed, rests on too few subjects, or was explained away.
select * from {{ ref('stg_failure_slices') }}
