select * from {{ source('lake', 'failure_slices') }}
