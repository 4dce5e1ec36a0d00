{% test between(model, column_name, low=none, high=none) %}
    -- Values outside the closed range; null is no value.
    select {{ column_name }}
    from {{ model }}
    where
        false
        {% if low is not none %} or {{ column_name }} < {{ low }}{% endif %}
        {% if high is not none %} or {{ column_name }} > {{ high }}{% endif %}
        or isnan({{ column_name }}::double)
{% endtest %}
