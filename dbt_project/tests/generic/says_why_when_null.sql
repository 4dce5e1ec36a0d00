{% test says_why_when_null(model, column_name, reason='reason') %}
    -- Undefined is null with a reason.
    select {{ column_name }} from {{ model }} where {{ column_name }} is null and {{ reason }} is null
{% endtest %}
