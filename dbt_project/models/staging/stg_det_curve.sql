select * from {{ source('lake', 'det_curve') }}
