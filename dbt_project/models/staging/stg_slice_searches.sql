select * from {{ source('lake', 'slice_searches') }}
