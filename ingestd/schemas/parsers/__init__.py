"""Text parsers: each cuts one line into texts by field name. One file per parser."""
