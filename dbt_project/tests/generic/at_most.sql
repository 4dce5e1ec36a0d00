{% test at_most(model, smaller, larger) %}
    -- Rows whose smaller column is the larger one.
    select {{ smaller }}, {{ larger }} from {{ model }} where {{ smaller }} > {{ larger }}
{% endtest %}
