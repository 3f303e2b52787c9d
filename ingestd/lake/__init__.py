"""The lake: typed tables as Parquet files, written once, queryable by anything that reads Parquet.

Child side (what a worker imports): `batch`, `arrow`, `tables`. Parent side: `writer`, `commit`, `parquet`, `files`,
`layout`. `query` is for people.
"""
