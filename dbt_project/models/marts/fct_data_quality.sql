select
    verdicts.gate,
    verdicts."key" as judged_key,
    item."table" as table_name,
    item.name as expectation,
    item.is_warning,
    item.n_unexpected as n_rows
from {{ ref('stg_verdicts') }} as verdicts, unnest(verdicts.expectations) as broken(item)
where not item.passed
