select * from {{ ref('fct_operating_points') }} where fmr > fmr_target
