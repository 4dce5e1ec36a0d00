{#- Comments on every table and column, in one statement list. A column that says nothing of itself means what the
    column of the same name means in the first relation that the model is made of. -#}
{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) %}
    {% set meanings = meanings_of(model) %}
    {% call statement('comments') %}
        comment on table {{ relation }} is {{ duckdb_escape_comment(model.description) }};
        {% for column in adapter.get_columns_in_relation(relation) if column.name in meanings %}
            comment on column {{ relation }}.{{ column.quoted }} is {{ duckdb_escape_comment(meanings[column.name]) }};
        {% endfor %}
    {% endcall %}
{% endmacro %}

{% macro meanings_of(node) %}
    {% set found = {} %}
    {% for column in node.columns.values() if column.description %}
        {% do found.update({column.name: column.description}) %}
    {% endfor %}
    {% for id in node.get('depends_on', {}).get('nodes', []) %}
        {% for name, meaning in meanings_of(graph.sources.get(id) or graph.nodes[id]).items() if name not in found %}
            {% do found.update({name: meaning}) %}
        {% endfor %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}
