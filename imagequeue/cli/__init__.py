"""The command line: `imagequeue`.

`main.py` and the modules that declare commands import little, so that help appears at once; what a command needs is
imported when it runs.
"""
