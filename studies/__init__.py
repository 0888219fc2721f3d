"""Questions about the papers' nets, and the programme of runs that answers each.

A study is a file of data: a question and a table of recipes over seeds. `python -m studies` lists
them, takes the next missing run, goes on with one that was stopped, and keeps what a finished run
leaves, which is small, in ``results/STUDY/RUN``::

    python -m studies                                        # what is done, and what is missing
    python -m studies stochastic-depth --data-dir DIR --hours 2
    python -m studies stochastic-depth --report              # the table and the picture

- `study`: what a study is, and the state of each of its runs.
- `runner`: runs as processes of their own, several at a time, in the background.
- `pace`: how long a run takes on this machine, measured.
- `report`: the table, the picture, and the study's part of ``results/README.md``.
- the others: one study each.
"""
