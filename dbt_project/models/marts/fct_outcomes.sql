select
    drops.build_id,
    outcomes.build_id as model_build_id,
    outcomes.drop_id,
    outcomes.device_model,
    outcomes.presentation,
    outcomes.is_genuine,
    outcomes.outcome,
    count(*) as n_attempts
from {{ ref('stg_attempt_outcomes') }} as outcomes
inner join {{ ref('dim_drop') }} as drops on drops.drop_id = outcomes.drop_id
group by all
