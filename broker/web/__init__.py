"""HTTP beside the routing, under the same trio: probes, metrics, a JSON API, and the page for people.

serving     connections and the end of them
site        every path, and who answers it
guard       who may: tokens, and what a browser must not be talked into
probes      whether the broker lives, whether its pools can serve
tables      the rows of `maitred status`, `workers` and the others, as JSON
operating   what an operator may have done
live        what the page is told each second
history     the last minutes, in numbers
openapi     all of it, described
page        the page itself: what a browser loads
"""
