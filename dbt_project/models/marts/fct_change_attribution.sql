-- One row: the part of a build's change of the FRR against its baseline that one slice accounts for.
select * from {{ ref('stg_change_attribution') }}
