-- What the slices and the rest account for is the whole change, part 0, but for rounding.
select build_id, comparison
from {{ ref('fct_change_attribution') }}
group by build_id, comparison
having
    not coalesce(abs(sum(change) filter (part > 0) - sum(change) filter (part = 0)) <= 1e-9, false)
    or sum(attempts_after) filter (part > 0) is distinct from sum(attempts_after) filter (part = 0)
