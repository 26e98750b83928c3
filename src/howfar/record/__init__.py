"""What a run leaves behind: frozen dataclasses that round-trip through JSON.

Standard library only: a record opens anywhere.
"""
