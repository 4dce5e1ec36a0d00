select * from {{ source('lake', 'devices') }}
