select * from {{ source('lake', 'comparisons') }}
