select * from {{ source('lake', 'metric_counts') }}
