"""The lake: typed tables as Parquet files, written once, queryable by anything that reads Parquet.

Child side (what a worker imports): `batch`, `arrow`, `joined`, `jsontext`, `tables`.
Parent side: `writer`, `pending`, `parquet`, `commit`, `files`, `layout`, `unwritable`. `query` is for people.
"""

import os

# Read when Arrow first takes memory. What it takes by itself has huge pages zeroed for each batch anew.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
