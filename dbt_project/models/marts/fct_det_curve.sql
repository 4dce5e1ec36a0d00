-- One row: a point of the detection error trade-off of a build over all its cross-subject pairs, scored by one model.
select * from {{ ref('stg_det_curve') }}
