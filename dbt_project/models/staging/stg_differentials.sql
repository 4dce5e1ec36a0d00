select * from {{ source('lake', 'differentials') }}
