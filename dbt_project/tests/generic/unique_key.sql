{% test unique_key(model, columns) %}
    -- Rows that share a key; null is a value here.
    {% set key = '"' ~ columns | join('", "') ~ '"' %}
    select {{ key }}, count(*) as n
    from {{ model }}
    group by {{ key }}
    having count(*) > 1
{% endtest %}
