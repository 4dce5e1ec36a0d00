select dimension, level, count(distinct drop_id) as n_drops
from {{ ref('stg_metric_counts') }}
group by dimension, level
