"""The lake: typed tables as Parquet files, written once, queryable by anything that reads Parquet.

Child side (what a worker imports): `batch`, `arrow`, `joined`, `jsontext`, `tables`.
Parent side: `writer`, `pending`, `parquet`, `commit`, `files`, `layout`, `unwritable`. `query` is for people.
"""
