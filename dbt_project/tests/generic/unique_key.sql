{% test unique_key(model, columns) %}
    -- Rows that share a key; null is a value here.
    select {{ columns | join(', ') }}, count(*) as n
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}
