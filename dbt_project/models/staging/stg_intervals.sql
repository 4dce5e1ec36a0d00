select * from {{ source('lake', 'intervals') }}
