select
    gate,
    "key" as judged_key,
    passed as is_passed,
    len(expectations) as n_expectations,
    len(list_filter(expectations, lambda item : not item.passed and not item.is_warning)) as n_failed,
    len(list_filter(expectations, lambda item : not item.passed and item.is_warning)) as n_warned
from {{ ref('stg_verdicts') }}
