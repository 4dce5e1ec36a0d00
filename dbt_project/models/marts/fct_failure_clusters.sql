-- One row: a cluster of a build's failures in an embedding; its exemplars stay in the lake.
select * exclude (examples_json) from {{ ref('stg_failure_clusters') }}
