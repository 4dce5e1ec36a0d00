"""A dashboard for Superset: data sets over the warehouse's tables, charts, and a page with filters, as one bundle."""
