"""A read-only web view of a store, for people: `python -m flows.viewer STORE`.

app.py        what is served, and under which headers
shelf.py      what the store holds, remembered between two looks
pages.py      the pages; their templates lie in pages/
files.py      the files of the store, by name and by range
auth.py       who may look
links.py      the addresses of all of it, for artifacts and for other pages
"""
