select * from {{ source('lake', 'operating_points') }}
