"""Labelled texts to rows with a class.

examples.py    a labelled text, and the splits of a data set
columns.py     which columns hold text and label
folders.py     which files are which split, and which folders classes
headers.py     whether a csv or tsv file has a header
local.py       files: tables, a folder for each class, csv without a header
hub.py         IMDB, AG News, SST-2, Amazon and Yelp polarity by name, and any other labelled data set of the hub
docstrings.py  a labelled data set that every machine has
bad_rows.py    rows that cannot be used: refused, or left out and counted
labels.py      labels as classes 0 .. n-1 with names
known.py       rows for a classifier that has names for its classes already
duplicates.py  equal texts
split.py       rows held out, or the few that are read, the same share of every class
tokens.py      rows of ids, whole, cut, or random stretches of them
kind.py        whether data is of this kind
load.py        all of it for a run: `load_classification`
"""

from __future__ import annotations
