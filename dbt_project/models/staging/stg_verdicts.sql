select * from {{ source('lake', 'verdicts') }}
