"""What a user feels of the template and its projects, each figure beside another one.

`harness` measures two sides in turn, `limits` says what must hold, `report` writes the table and
the picture of `docs/benchmarks.md`; the other modules are the sections.
"""
