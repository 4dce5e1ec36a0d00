select * from {{ source('lake', 'failure_clusters') }}
