select
    device_model,
    string_agg(distinct camera_supplier, ', ' order by camera_supplier) as camera_suppliers,
    count(distinct device_id) as n_devices,
    count(distinct drop_id) as n_drops
from {{ ref('stg_devices') }}
group by device_model
