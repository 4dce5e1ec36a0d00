"""Tables of other people: delimited text in any dialect, or Parquet, as typed columns.

`plain_text` undoes compression and encodings, `dialect` finds separator and header, `columns` decides what the cells
of a column are, `outcomes` what a failure is, and `reading` is the way through all of them.
"""
