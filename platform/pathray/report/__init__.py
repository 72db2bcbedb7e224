"""The report of a fine-tuning run: figures, one HTML page that needs nothing else, a JSON twin.

Everything here is a pure function of a `RunResult` (and of tile pictures, where there are any):
equal input gives equal bytes. `making.make_report` is the door.
"""
