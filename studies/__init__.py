"""Questions about the papers' nets, and the programme of runs that answers each.

A study is a question, and a table of recipes over seeds or a measurement. `python -m studies` lists
them. With a name it takes the missing runs, goes on with those that were stopped, and keeps what a
finished run leaves, which is small, in ``results/STUDY/RUN``::

    python -m studies                                        # what is done, and what is missing
    python -m studies stochastic-depth --data-dir DIR --hours 2
    python -m studies stochastic-depth --report              # the table and the picture

- `study`: what a study is, and the state of each of its runs.
- `runner`: runs as processes of their own, several at a time, in the background.
- `pace`: how long a run takes on this machine, measured.
- `report`: the table, the picture, and the study's part of ``results/README.md``.
- the others: one study each.
"""
