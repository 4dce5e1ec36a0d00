select * from {{ source('lake', 'attempt_outcomes') }}
