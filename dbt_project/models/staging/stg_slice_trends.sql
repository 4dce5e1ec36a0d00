select * from {{ source('lake', 'slice_trends') }}
