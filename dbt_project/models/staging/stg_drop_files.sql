select * from {{ source('lake', 'drop_files') }}
