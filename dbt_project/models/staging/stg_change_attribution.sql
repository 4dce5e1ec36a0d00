select * from {{ source('lake', 'change_attribution') }}
