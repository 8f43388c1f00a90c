"""The table of formats: a format is one file beside this one and one row here."""

from __future__ import annotations

from workloads.data.formats.flat import FlatFormat
from workloads.data.formats.format import Format
from workloads.data.formats.litpkds import PackedFormat
from workloads.data.formats.megatron import MegatronFormat
from workloads.data.formats.rows import RowsFormat

# The first that is at a path is taken: the formats with marks of their own come first.
FORMATS: dict[str, Format] = {
    one.name: one for one in (MegatronFormat(), PackedFormat(), RowsFormat(), FlatFormat())
}
