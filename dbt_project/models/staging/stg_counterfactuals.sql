select * from {{ source('lake', 'counterfactuals') }}
