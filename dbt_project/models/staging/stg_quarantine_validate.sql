-- Without the row as delivered and the detail that quotes it: they stay in the lake.
select * exclude (raw, detail) from {{ source('lake', 'quarantine_validate') }}
