-- One row: a search for slices of one outcome over a build's own genuine attempts, and its conclusion.
select * exclude (skipped_json) from {{ ref('stg_slice_searches') }}
