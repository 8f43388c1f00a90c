"""How often text may be read before the plan of a study and the report of a table caution."""

# Up to so many passes, repeated text is nearly as good as fresh (Muennighoff et al. 2023,
# arXiv 2305.16264).
MOST_PASSES = 4
