-- One row: a confirmed slice's failures run again with one condition changed.
select * from {{ ref('stg_counterfactuals') }}
