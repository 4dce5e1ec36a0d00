-- One row: an operating point of a build over all its cross-subject pairs, scored by one model.
select * from {{ ref('stg_operating_points') }}
